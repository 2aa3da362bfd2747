# What the shipped hooks in hooks/ have in common. Sourced, with $hook naming the one.
set -eu
# Where it remembers how it found things, from its drain to its undrain.
state=${LOCKKEEPER_HOOKS_STATE:-/var/lib/lockkeeper-hooks}/$hook
config=${LOCKKEEPER_HOOKS_CONF:-/etc/lockkeeper/hooks.conf}
point=${LOCKKEEPER_HOOK:-}

fail() {
    echo "$*" >&2
    exit 1
}

# Keeps what a command prints, before anything is changed. What an earlier run has kept stays: it came
# before the changes, and those are ours.
remember() {
    [ ! -e "$state" ] || return 0
    mkdir -p "${state%/*}"
    "$@" > "$state.new"
    sync "$state.new"
    mv "$state.new" "$state"
}

# Ends a hook that has nothing to put back.
put_back() {
    [ -e "$state" ] || exit 0
}

misplaced() {
    fail "$hook belongs into $1 and in-service, not into \"$point\""
}

set -a
# shellcheck source=/dev/null
[ ! -e "$config" ] || . "$config"
set +a
