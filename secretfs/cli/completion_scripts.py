"""What bash, zsh and fish run when Tab is pressed. Rule: they ask the ``secretfs`` that was typed, and show."""

_BASH = r"""# completion of secretfs for bash
_secretfs() {
    local asked found=()
    mapfile -t found < <("$1" __complete bash "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
    found=("${found[@]%%$'\t'*}")
    asked=${COMP_WORDS[COMP_CWORD]}
    case ${found[0]-} in
        :files) compopt -o default; COMPREPLY=() ;;
        :directories) compopt -o dirnames; COMPREPLY=() ;;
        :commands) mapfile -t COMPREPLY < <(compgen -c -- "$asked") ;;
        *)
            COMPREPLY=("${found[@]}")
            if [[ ${#found[@]} -eq 1 && ${found[0]} == *[:=] ]]; then compopt -o nospace; fi
            ;;
    esac
}
complete -F _secretfs secretfs
"""

_ZSH = r"""#compdef secretfs
# completion of secretfs for zsh
_secretfs() {
    local -a found closed open
    local line shown
    found=("${(@f)$("${(Q)words[1]}" __complete zsh "${(Q@)words[2,CURRENT]}" 2>/dev/null)}")
    case $found[1] in
        :files) _files; return ;;
        :directories) _files -/; return ;;
        :commands) _command_names -e; return ;;
    esac
    for line in $found; do
        shown=${${line//:/\\:}/$'\t'/:}
        if [[ ${line%%$'\t'*} == *[:=] ]]; then open+=("$shown"); else closed+=("$shown"); fi
    done
    _describe -t values secretfs closed -- open -S ''
}
if [[ $funcstack[1] == _secretfs ]]; then _secretfs "$@"; else compdef _secretfs secretfs; fi
"""

_FISH = r"""# completion of secretfs for fish
function __secretfs_complete
    set -l typed (commandline -opc)
    set -l word (commandline -ct)
    for line in ($typed[1] __complete fish $typed[2..] "$word" 2>/dev/null)
        switch $line
            case ':files'
                __fish_complete_path "$word"
            case ':directories'
                __fish_complete_directories "$word"
            case ':commands'
                __fish_complete_command
            case '*'
                echo $line
        end
    end
end
complete -c secretfs -f -a '(__secretfs_complete)'
"""

SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
