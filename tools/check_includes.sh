#!/usr/bin/env bash
# The walls of the house: includes point down only, and each outside library has one door.
cd "$(dirname "$0")/.." || exit 1
bad=0
# complain PATTERN WHY FOLDER...: no file of the folders may have a line that matches.
complain() {
    local hits pattern=$1 why=$2
    shift 2
    hits=$(grep -rnE --include='*.[ch]' "$pattern" "$@" 2>/dev/null) || return 0
    echo "$why:"
    echo "$hits"
    bad=1
}
room() { echo "^#include \"($1)/"; }
complain "$(room 'compute|weights|tokenizer|template|grammar|encoder|decoder|pooling|service')" 'base includes upward' base
complain "$(room 'weights|tokenizer|template|grammar|encoder|decoder|pooling|service')" 'compute includes upward' compute
complain "$(room 'tokenizer|template|grammar|encoder|decoder|pooling|service')" 'weights includes upward or across' weights
complain "$(room 'compute|template|grammar|encoder|decoder|pooling|service')" 'tokenizer includes upward or across' tokenizer
complain "$(room 'tokenizer|template|grammar|decoder|pooling|service')" 'encoder includes upward or across' encoder
complain "$(room 'tokenizer|template|grammar|encoder|service')" 'decoder includes upward or across' decoder
complain "$(room 'tokenizer|template|grammar|encoder|decoder|service')" 'pooling includes upward or across' pooling
complain "$(room 'service|hub|cli')" 'engine includes upward' engine
complain "$(room 'engine|service|cli|tokenizer|template|grammar|encoder|decoder|pooling|compute')" 'hub includes upward or across' hub
complain "$(room 'cli|hub')" 'service includes upward or across' service
complain "$(room 'engine|service/api')" 'http knows no dialect and no model' service/http
complain '#include "compute/cpu/' 'only cli (which makes devices), tests and bench may name a device' weights tokenizer template grammar encoder decoder pooling base engine service hub
rooms='base compute weights tokenizer template grammar encoder decoder pooling engine service hub cli'
for door in 'civetweb.h:service/http/' 'cblas.h:compute/cpu/' 'cuda_runtime.h:compute/cuda/' 'utf8proc.h:tokenizer/' 'curl/curl.h:hub/'; do
    # shellcheck disable=SC2086 # the rooms are a list of words
    hits=$(grep -rlE --include='*.[ch]' "#include <${door%%:*}>" $rooms 2>/dev/null | grep -v "^${door#*:}")
    if [ -n "$hits" ]; then
        echo "${door%%:*} outside ${door#*:}:"
        echo "$hits"
        bad=1
    fi
done
exit $bad
