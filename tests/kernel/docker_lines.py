"""Command lines of the docker program, in the order in which they are typed; ``docker`` itself is left out.

``LINE <<< TEXT`` gives TEXT on standard input. ``{soon}`` is the next second, as a number.
"""

_OBJECTS = """
NOUN ls
NOUN ls -q
NOUN inspect nope
NOUN rm nope
NOUN create a - <<< one
NOUN create -l tier=web -l empty= -l bare b.b - <<< two
NOUN create A - <<< other
NOUN create B.B - <<< other
NOUN create -l tier=db p10 - <<< x
NOUN create p2 - <<< x
NOUN create p1 - <<< x
NOUN create under_score-dash.dot - <<< x
NOUN create 0 - <<< x
NOUN create .a - <<< x
NOUN create a. - <<< x
NOUN create -- -a - <<< x
NOUN create a/b - <<< x
NOUN create a,b - <<< x
NOUN create é - <<< x
NOUN create 'a b' - <<< x
NOUN create '' - <<< x
NOUN create 1234567890123456789012345678901234567890123456789012345678901234 - <<< x
NOUN create 12345678901234567890123456789012345678901234567890123456789012345 - <<< x
NOUN create empty -
NOUN create missing /nowhere/file
NOUN create directory /
NOUN create
NOUN create one two three four
NOUN create -l =x bad - <<< x
NOUN create -l 'a b=c' bad - <<< x
NOUN create -l k=1 -l k=2 twice - <<< x
NOUN create --template-driver golang templated - <<< x
NOUN create --template-driver other othertemplate - <<< x
NOUN create --nosuchflag x - <<< x
NOUN ls --format '{{.Name}}'
NOUN ls --format '{{.Name}} {{.Label "tier"}}' --filter label=tier
NOUN ls --format '{{.Name}} {{.Labels}}' --filter name=p1
NOUN ls --format '{{.Bogus}}'
NOUN ls --format '{{'
NOUN ls --format table
NOUN ls --format 'table {{.Name}}'
NOUN ls --format pretty
NOUN ls --filter name=P --format '{{.Name}}'
NOUN ls --filter name= --format '{{.Name}}'
NOUN ls --filter name=a --filter name=b --format '{{.Name}}'
NOUN ls --filter id=zzzzzzzz --format '{{.Name}}'
NOUN ls --filter id=zzzzzzzz --filter name=a --format '{{.Name}}'
NOUN ls --filter label=tier=web --format '{{.Name}}'
NOUN ls --filter label=tier= --format '{{.Name}}'
NOUN ls --filter label=tier --filter label=bare --format '{{.Name}}'
NOUN ls --filter label=nope --format '{{.Name}}'
NOUN ls --filter label= --format '{{.Name}}'
NOUN ls --filter names=a --format '{{.Name}}'
NOUN ls --filter foo=a
NOUN ls --filter foo
NOUN ls --filter driver=x
NOUN ls x
NOUN inspect
NOUN inspect a
NOUN inspect A
NOUN inspect a nope b.b
NOUN inspect --format '{{.Spec.Name}}' a nope
NOUN inspect --format '{{.Spec.Name}} {{json .Spec.Labels}}' b.b
NOUN inspect --format '{{.Nope}}' a
NOUN inspect --pretty a
NOUN inspect --pretty b.b
NOUN inspect --pretty nope a
NOUN inspect --format '{{json .Spec}}' templated
NOUN inspect --format '{{json .Spec.Labels}}' twice
NOUN inspect ''
NOUN inspect a/b
NOUN inspect %61
NOUN rm a/b
NOUN rm ''
NOUN rm
NOUN rm p1 nope p2 nope2
NOUN ls --format '{{.Name}}'
NOUN rm templated othertemplate twice 0 under_score-dash.dot
NOUN nosuchverb
"""
_DRIVERS = """
secret create --driver vault d
secret create --driver vault d - <<< x
config create --driver vault d - <<< x
"""
_SERVICES = """
service ls
service create -d --no-resolve-image --replicas 0 --name web --secret a --config a -l tier=web busybox
service create -d --no-resolve-image --replicas 0 --name WEB busybox
service create -d --no-resolve-image --replicas 0 --name web busybox
service create -d --no-resolve-image --replicas 0 --name web_ busybox
service create -d --no-resolve-image --replicas 0 --name 'we b' busybox
service create -d --no-resolve-image --replicas 0 --name w.b busybox
service create -d --no-resolve-image --name 1234567890123456789012345678901234567890123456789012345678901234 busybox
service create -d --no-resolve-image --name x --secret nope busybox
service create -d --no-resolve-image --name x --secret A busybox
service create -d --no-resolve-image --name x --config nope busybox
service create -d --no-resolve-image --name x --secret source=a,target=t --secret source=b.b,target=t busybox
service create -d --no-resolve-image --name x --secret a,target=t busybox
service create -d --no-resolve-image --name x --secret source=a,mode=0999 busybox
service create -d --no-resolve-image --name x --secret source=a,size=1 busybox
service create -d --no-resolve-image --name x --secret target=a busybox
service create -d --no-resolve-image --name x --secret '' busybox
service create -d --no-resolve-image --name x --config source=a,size=1 busybox
service create -d --no-resolve-image --name x --mode bogus busybox
service create -d --no-resolve-image --name x --replicas -1 busybox
service create -d --no-resolve-image --name x
service create -d --no-resolve-image --replicas 0 --name many --secret source=a,target=one,uid=1,gid=2,mode=0400 \
--secret source=a,target=two,mode=0o440 --secret source=b.b,mode=0x120 --config source=a,target=/etc/conf busybox
service create -d --no-resolve-image --replicas 0 --name decimal --secret source=a,mode=440 busybox
service create -d --no-resolve-image --mode global --constraint node.labels.nope==x --name every busybox
service create -d --no-resolve-image --replicas 0 --name env --env A=1 --user 5:6 --limit-memory 64M --mount \
type=tmpfs,dst=/x --restart-condition none busybox sleep 1
service inspect --format '{{json .Spec}}' web
service inspect --format '{{json .Spec}}' many
service inspect --format '{{json .Spec.TaskTemplate.ContainerSpec.Secrets}}' decimal
service inspect --format '{{json .Spec}}' env
service inspect --format '{{json .Spec.Mode}}' every
service inspect --format '{{.Spec.Name}}' WEB
service inspect nope
service inspect --format '{{.Spec.Name}}' nope web
service inspect --pretty web
service ls --format '{{.Name}} {{.Mode}} {{.Replicas}} {{.Image}}'
service ls --format '{{.Name}}' --filter name=we
service ls --format '{{.Name}}' --filter name=WE
service ls --format '{{.Name}}' --filter label=tier
service ls --format '{{.Name}}' --filter label=tier=web
service ls --format '{{.Name}}' --filter mode=global
service ls --format '{{.Name}}' --filter mode=replicated
service ls --format '{{.Name}}' --filter mode=bogus
service ls --format '{{.Name}}' --filter id=zzz
service ls --filter foo=x
service ps web
service ps nope
service ps -q web nope
service ps --filter foo=x web
service ps --filter desired-state=bogus web
secret rm a
config rm a
secret rm a nope
service update -d --no-resolve-image --secret-rm a web
service inspect --format '{{json .Spec.TaskTemplate.ContainerSpec.Secrets}}' web
service update -d --no-resolve-image --secret-rm nope --secret-add source=b.b,target=t web
service update -d --no-resolve-image --secret-add nope web
service update -d --no-resolve-image --secret-add source=b.b,target=t web
service update -d --no-resolve-image --secret-rm b.b --secret-add source=b.b,target=u,mode=0400 web
service inspect --format '{{json .Spec.TaskTemplate.ContainerSpec.Secrets}}' web
service inspect --format '{{json .PreviousSpec.TaskTemplate.ContainerSpec.Secrets}}' web
service rollback -d web
service inspect --format '{{json .Spec.TaskTemplate.ContainerSpec.Secrets}}' web
service update -d --rollback web
service update -d --rollback --image x web
service rollback -d decimal
service rollback -d nope
service update -d --no-resolve-image --label-add x=y --label-rm tier web
service inspect --format '{{json .Spec.Labels}}' web
service update -d --no-resolve-image --config-rm a --config-add source=b.b,target=z web
service inspect --format '{{json .Spec.TaskTemplate.ContainerSpec.Configs}}' web
service update -d --no-resolve-image --env-add A=2 --args 'sleep 5' env
service inspect --format '{{json .Spec.TaskTemplate.ContainerSpec}}' env
service update -d nope
service scale -d many=0
service scale -d every=2
service scale -d nope=1
service scale -d many=x
service rm decimal nope every
service rm web many env
service ls -q
"""
_STACKS = """
stack ls
stack deploy --detach=true -c short.yml st
secret create my_other_secret - <<< y
stack deploy --detach=true --resolve-image never -c short.yml st
stack deploy --detach=true --resolve-image never -c short.yml st
stack deploy --detach=true --resolve-image never -c long.yml st
stack ls --format '{{.Name}} {{.Services}}'
stack services --format '{{.Name}} {{.Replicas}}' st
service inspect --format '{{json .Spec}}' st_redis
secret ls --format '{{.Name}} {{.Labels}}' --filter name=st_
network ls --format '{{.Name}} {{.Driver}} {{.Scope}}' --filter label=com.docker.stack.namespace=st
stack services nope
stack ps nope
stack rm nope
stack deploy --detach=true -c nowhere.yml st
stack deploy --detach=true -c undefined.yml st
stack deploy --detach=true -c short.yml ''
stack rm st
stack ls
secret ls --format '{{.Name}}' --filter name=st_
secret rm my_other_secret
"""
_NODES = """
node ls --format '{{.Hostname}} {{.Status}} {{.Availability}} {{.ManagerStatus}} {{.Self}}'
node ls --filter role=manager --format '{{.Hostname}}'
node ls --filter role=worker --format '{{.Hostname}}'
node ls --filter role=x
node ls --filter foo=x
node ls --filter name=nope -q
node inspect nope
node inspect --format '{{json .Spec}}' self
node update --label-add a=b --label-add c nope
node update --label-add a=b --label-add c HOSTNAME
node inspect --format '{{json .Spec}}' self
node ls --filter node.label=a=b --format '{{.Hostname}}'
node ls --filter node.label=a=x --format '{{.Hostname}}'
node ls --filter label=a --format '{{.Hostname}}'
node update --label-rm c --availability drain HOSTNAME
node inspect --format '{{json .Spec}}' self
node update --availability bogus HOSTNAME
node update --availability active HOSTNAME
node update --role worker HOSTNAME
node promote HOSTNAME
node demote HOSTNAME
node rm HOSTNAME
node rm --force HOSTNAME
node rm nope
node ps -q
node ps nope
"""
_SWARM = """
swarm init
swarm join --token x 127.0.0.1:1
swarm leave
swarm unlock-key
swarm unlock-key --rotate
swarm unlock <<< x
swarm join-token -q worker
swarm join-token foo
swarm join-token --rotate -q manager
swarm ca --cert-expiry 1h
swarm update --cert-expiry 30m
swarm update --autolock=true
swarm unlock-key -q
swarm unlock-key --rotate -q
swarm update --autolock=false
swarm unlock-key
info --format '{{.Swarm.LocalNodeState}} {{.Swarm.ControlAvailable}} {{.Swarm.Nodes}} {{.Swarm.Managers}}'
"""
_EVENTS = """
events --since 1h --until {soon} --filter type=secret --format '{{.Action}} {{.Actor.Attributes.name}}'
events --since 1h --until {soon} --filter type=config --filter event=remove --format '{{.Action}} {{.Scope}}'
events --since 1h --until {soon} --filter secret=b.b --format '{{.Type}} {{.Action}}'
events --since 1h --until {soon} --filter type=node --format '{{.Action}} {{.Actor.Attributes}}'
events --since 1h --until {soon} --filter scope=local --filter type=secret
events --since 5 --until 1
events --since x
events --filter foo
"""
_OTHERS = """
network inspect nope
network rm nope
network rm host
network create -d overlay n
network create -d overlay n
network create -d overlay --label a=b labelled
network ls --filter label=a --format '{{.Name}} {{.Scope}}'
network ls --filter foo=x
network ls --filter type=x
network rm n labelled
ps
ps -aq
images -q
volume ls -q
plugin ls
inspect nope
inspect --type secret a
inspect --type service nope
secret rm a b.b p10 1234567890123456789012345678901234567890123456789012345678901234
config rm a b.b p10 1234567890123456789012345678901234567890123456789012345678901234
secret ls -q
config ls -q
"""
LINES = [
    line.strip().replace("\\\n", "")
    for part in (
        _OBJECTS.replace("NOUN", "secret"), _OBJECTS.replace("NOUN", "config"), _DRIVERS, _SERVICES, _STACKS, _NODES,
        _SWARM, _EVENTS, _OTHERS,
    )
    for line in part.replace("\\\n", "").splitlines()
    if line
]  # fmt: skip
