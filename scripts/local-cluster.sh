# Sourced by scripts/demo and scripts/bench: three local nodes on free ports of 127.0.0.1, ended by their pids.
#
#   cluster_start FOLDER APP [flags...]   sets pids, ports (node addresses) and https (HTTP addresses), 1 ... 3
#   cluster_wait                          until every node is ready
#   cluster_leader                        prints the number of the node that leads
#   cluster_stop                          ends what still runs, and waits for it

program=${BUILD:-build}/moonclave

# Below the range from which the system gives connections theirs.
free_ports() { # COUNT
    lua5.4 -e "local uv, held = require 'luv', {}
        math.randomseed(uv.hrtime() ~ (uv.os_getpid() << 20))
        while #held < $1 do
            local port, server = math.random(10000, 32000), uv.new_tcp()
            if server:bind('127.0.0.1', port) and server:listen(1, function() end) then
                held[#held + 1] = server
                io.write(port, ' ')
            else
                server:close()
                uv.run 'nowait' -- or luv frees it twice
            end
        end
        os.exit(0)" # nothing is to be closed any more
}

cluster_start() {
    folder=$1 app=$2
    shift 2
    set -- "$@" # the flags for every node
    flags=$*
    # shellcheck disable=SC2046
    set -- $(free_ports 6)
    port1=$1 port2=$2 port3=$3 http1=$4 http2=$5 http3=$6
    peers=n1=127.0.0.1:$port1,n2=127.0.0.1:$port2,n3=127.0.0.1:$port3
    for n in 1 2 3; do cluster_node $n; done
}

cluster_node() { # N: starts (again) node N
    eval "node_port=\$port$1 node_http=\$http$1"
    # shellcheck disable=SC2086
    "$program" start "$app" --id "n$1" --addr "127.0.0.1:$node_port" --http-port "$node_http" \
        --peers "$peers" --data "$folder/n$1" $flags >>"$folder/n$1.log" 2>&1 &
    eval "pid$1=$!"
}

cluster_wait() {
    for n in ${1:-1 2 3}; do
        eval "node_http=\$http$n node_pid=\$pid$n"
        tries=0
        until curl -sf -m 2 -o /dev/null "http://127.0.0.1:$node_http/readyz"; do
            tries=$((tries + 1))
            if ! kill -0 "$node_pid" 2>/dev/null || [ $tries -gt 600 ]; then
                echo "node n$n does not become ready; its log:" >&2
                tail -20 "$folder/n$n.log" >&2
                return 1
            fi
            sleep 0.1
        done
    done
}

cluster_leader() {
    tries=0
    while [ $tries -lt 600 ]; do
        for n in 1 2 3; do
            eval "node_http=\$http$n"
            curl -sf -m 2 "http://127.0.0.1:$node_http/v1/status" 2>/dev/null | grep -q '"role":"leader"' && {
                echo $n
                return 0
            }
        done
        tries=$((tries + 1))
        sleep 0.1
    done
    echo "no leader" >&2
    return 1
}

cluster_stop() {
    for n in 1 2 3; do
        eval "node_pid=\${pid$n:-}"
        [ -n "$node_pid" ] && kill "$node_pid" 2>/dev/null
    done
    for n in 1 2 3; do
        eval "node_pid=\${pid$n:-}"
        [ -n "$node_pid" ] && wait "$node_pid" 2>/dev/null
        eval "pid$n="
    done
    return 0
}
