# The lanes of tests/run.sh: how what it planned is run. Two lanes run one program at a time each, so that
# two cores have work. tests/lanes.txt names the programs that are run otherwise, and why:
# - alone: before the two lanes begin. What runs meanwhile is idle or sleeps.
# - idle: at the lowest priority while `alone` ones run; what is left of them then, last on the two lanes.
#   They only compute, and no clock of theirs matters.
# - sleeps: they wait for most of their time. One after the other on a lane of their own, all the time.
# Each program has a log and a TMPDIR of its own, and is run once: what fails beside others has failed.
# Lines are printed in one order, whichever ends first: alone, two lanes, idle, sleeps.
labels=() commands=() log_files=() ways=()
lanes=2
work=$(mktemp -d)
# Who ends this ends what it runs; what a program that is killed has left in its TMPDIR goes, too.
end_all() {
    local running
    running=$(cat "$work"/*.runs 2>/dev/null)
    rm -rf "$work" # no lane begins another
    # shellcheck disable=SC2086 # process ids
    [ -z "$running" ] || kill $running 2>/dev/null
}
trap end_all EXIT

# log_of LABEL: into `log`. A fork for each of hundreds would take its time.
log_of() { log=$logs/${1//[^A-Za-z0-9_.-]/_}.log; }

# plan LABEL COMMAND...: it is run by run_planned, with the TRINE_TEST_DEVICE that it is planned with.
plan() {
    local log line
    log_of "$1"
    printf -v line '%q ' ${TRINE_TEST_DEVICE:+env "TRINE_TEST_DEVICE=$TRINE_TEST_DEVICE"} "${@:2}"
    labels+=("$1") commands+=("$line") log_files+=("$log")
}

# only PATTERN...: of what is planned, what fits one of them; without a pattern all of it.
only() {
    local i pattern
    [ $# -gt 0 ] || return 0
    for i in "${!labels[@]}"; do
        for pattern; do
            # shellcheck disable=SC2053 # a pattern
            if [[ ${labels[i]} == $pattern ]]; then continue 2; fi
        done
        unset "labels[i]" "commands[i]" "log_files[i]" "ways[i]"
    done
}

# Each line of lanes.txt is "PATTERN WAY WHY...". A pattern that fits nothing any more is an error, and so
# are two programs that would write one log.
read_ways() {
    local pattern way why i fits
    for i in "${!labels[@]}"; do ways[i]=beside; done
    while read -r pattern way why; do
        case $pattern in '' | '#'*) continue ;; esac
        fits=
        for i in "${!labels[@]}"; do
            # shellcheck disable=SC2053 # a pattern
            if [[ ${labels[i]} == $pattern ]]; then ways[i]=$way fits=1; fi
        done
        if [ -z "$fits" ] || [ -z "$why" ] || [[ $way != @(alone|idle|sleeps) ]]; then
            echo "tests/lanes.txt: '$pattern $way $why' fits no program, or is not PATTERN alone|idle|sleeps WHY"
            return 1
        fi
    done <tests/lanes.txt
    local twice
    twice=$(printf '%s\n' "${log_files[@]}" | sort | uniq -d)
    [ -z "$twice" ] || { echo "tests/run.sh: two programs write $twice"; return 1; }
}

# which WAY: the numbers of the programs that are run so.
which() {
    local i
    for i in "${!labels[@]}"; do [ "${ways[i]}" != "$1" ] || echo "$i"; done
}

# A process of this class runs where no other wants to; a container may forbid to ask for it.
if chrt --idle 0 true 2>/dev/null; then lowest='chrt --idle 0'; else lowest='nice -n 19'; fi

# lane HOW NUMBER...: runs these, but for those that another lane has taken, and prints of each that has
# ended its number, its exit status and its seconds. HOW: words before each command; with any, no
# program is begun once `alone` ones are done, and one that was has the time until the others end.
lane() {
    local how=$1 most=600 i began
    shift
    [ -z "$how" ] || most=1800
    for i; do
        [ -z "$how" ] || [ ! -e "$work/busy" ] || return
        mkdir "$work/$i" 2>/dev/null || continue
        began=$SECONDS
        # What a shell starts by & would have INT and QUIT ignored.
        TMPDIR=$work/$i eval "exec env --default-signal=INT,QUIT $how timeout -k 10 $most ${commands[i]}" \
            >"${log_files[i]}" 2>&1 </dev/null &
        echo $! >"$work/$i.runs"
        wait $!
        echo "$i $? $((SECONDS - began))"
        rm -rf "$work/$i.runs" "${work:?}/$i/"*
    done
}

run_lanes() {
    local n
    # shellcheck disable=SC2046 # numbers
    {
        lane '' $(which sleeps) &
        lane "$lowest" $(which idle) &
        lane '' $(which alone)
        : >"$work/busy"
        for ((n = 0; n < lanes; n++)); do lane '' $(which beside) $(which idle) & done
        wait
    }
}

# run_planned WHAT: calls WHAT LABEL STATUS SECONDS for each program, in order.
run_planned() {
    local i ended left said
    rm -f "${log_files[@]}" # no word of an earlier run's counts
    # shellcheck disable=SC2207 # numbers
    left=($(which alone) $(which beside) $(which idle) $(which sleeps))
    ended=()
    while read -r i said; do
        ended[i]=$said
        while [ ${#left[@]} -gt 0 ] && [ -n "${ended[left[0]]-}" ]; do
            # shellcheck disable=SC2086 # two numbers
            "$1" "${labels[left[0]]}" ${ended[left[0]]}
            left=("${left[@]:1}")
        done
    done < <(run_lanes)
    # What a lane that was killed has left has failed; an order that waited for it goes on.
    for i in "${left[@]}"; do
        # shellcheck disable=SC2086 # two numbers
        "$1" "${labels[i]}" ${ended[i]-1 0}
    done
}
