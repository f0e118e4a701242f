# Read by the scripts of this folder. They train a list of recipes (crate_mini/recipes.py), one after the other;
# run again after a stop, they go on where they were.
#
#   --rehearse     one epoch of 64 images of the embedded set for each: seconds to a minute, on any machine
#   --show         print the commands, run nothing
#   --only NAME    this recipe alone
#
# From the environment: RUNS, the folder that results go to (runs); CRATE_MINI_DATA, the folder of the data sets;
# GPUS, how many this machine has (1).

set -euo pipefail

rehearse=() show=no only='' runs=${RUNS:-runs} gpus=${GPUS:-1}
while (($#)); do
    case $1 in
        --rehearse) rehearse=(--rehearse) runs=$runs/rehearsal ;;
        --show) show=yes ;;
        --only) only=${2:?--only needs the name of a recipe} && shift ;;
        *) echo "$0: no such option: $1 (there are --rehearse, --show, --only NAME)" >&2 && exit 2 ;;
    esac
    shift
done
trap '[[ -z $only || -n ${found:-} ]] || { echo "$0 has no recipe $only" >&2; exit 2; }' EXIT

run() { # COMMAND...: run it, or show it
    if [[ $show == yes ]]; then
        local words
        words=$(printf '%q ' "$@")
        echo "${words% }"
    else
        "$@"
    fi
}

train() { # RECIPE [FLAGS]: train it, unless that is done
    local name=$1 start=(crate-mini)
    shift
    [[ -z $only || $only == "$name" ]] || return 0
    found=yes
    [[ $show == yes || ! -f $runs/$name/model.json ]] || return 0
    ((gpus == 1)) || start=(torchrun --nproc-per-node "$gpus" -m crate_mini.cli)
    run "${start[@]}" train --recipe "$name" "${rehearse[@]}" "$@" --out "$runs/$name"
}
