# Installing Debian packages that are missing, and how scripts speak. Sourced; the variable PROGRAM says by whom.

say() { printf '%s: %s\n' "$PROGRAM" "$*"; }

refuse() { # WHAT [HINT...]
    printf '%s: error: %s\n' "$PROGRAM" "$1" >&2
    shift
    for hint; do printf '%s: hint: %s\n' "$PROGRAM" "$hint" >&2; done
    exit 1
}

quietly() { # LOG COMMAND...: what it prints is shown only when it fails
    local log=$1
    shift
    "$@" >"$log" 2>&1 && return
    tail -n 30 "$log" >&2
    return 1
}

found() { command -v "$1" >/dev/null; }

install_packages() ( # PACKAGE...: servers among them must not start; a subshell, whose end takes the guard away
    [ "$(id -u)" = 0 ] || refuse "missing Debian packages: $*" "run scripts/$PROGRAM as root, or: sudo apt-get install $*"
    found apt-get || refuse "this is no Debian: apt-get not found" "install what these Debian packages hold: $*"
    say "installing Debian packages: $*"
    local apt=(apt-get -qq -o DPkg::Lock::Timeout=120 -o Acquire::Retries=3) log guard=/usr/sbin/policy-rc.d
    log=$(mktemp)
    if [ ! -e "$guard" ]; then
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
        printf '#!/bin/sh\nexit 101\n' >"$guard"
        chmod 755 "$guard"
    fi
    quietly "$log" "${apt[@]}" update || refuse "apt-get update failed" "see the lines above; is there a network?"
    DEBIAN_FRONTEND=noninteractive quietly "$log" "${apt[@]}" install --yes --no-install-recommends "$@" ||
        refuse "apt-get could not install: $*" "see the lines above"
    rm -f "$log"
)
