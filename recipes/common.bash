# Read by the scripts of this folder. They train runs of the recipes in crate_mini/recipes.py, one after the other;
# run again after a stop, they go on where they were.
#
#   --rehearse     one epoch of 64 images of the embedded set for each: seconds to a minute, on any machine
#   --show         print the commands, run nothing
#   --only RUN     this run alone, by its id (animals/crate_mini/s0) or the name of its folder (crate_mini_animals_s0)
#
# From the environment: RUNS, the folder that results go to (runs); CRATE_MINI_DATA, the folder of the data sets;
# GPUS, how many this machine has (1).

set -euo pipefail

rehearse=() show=no only='' runs=${RUNS:-runs} gpus=${GPUS:-1}
while (($#)); do
    case $1 in
        --rehearse) rehearse=(--rehearse) runs=$runs/rehearsal ;;
        --show) show=yes ;;
        --only) only=${2:?--only needs a run} && shift ;;
        *) echo "$0: no such option: $1 (there are --rehearse, --show, --only RUN)" >&2 && exit 2 ;;
    esac
    shift
done
trap '[[ -z $only || -n ${found:-} ]] || { echo "$0 has no run $only" >&2; exit 2; }' EXIT

show_or_run() { # COMMAND...
    if [[ $show == yes ]]; then
        local words
        words=$(printf '%q ' "$@")
        echo "${words% }"
    else
        "$@"
    fi
}

train() { # RUN NAME [FLAGS]: train it to the folder NAME, unless that is done
    local run=$1 name=$2 start=(crate-mini)
    shift 2
    [[ -z $only || $only == "$run" || $only == "$name" ]] || return 0
    found=yes
    [[ $show == yes || ! -f $runs/$name/model.json ]] || return 0
    ((gpus == 1)) || start=(torchrun --nproc-per-node "$gpus" -m crate_mini.cli)
    show_or_run "${start[@]}" train --recipe "$run" "${rehearse[@]}" "$@" --out "$runs/$name" </dev/null
}

sweep() { # SWEEP [FLAGS]: train every run of it
    local list run name
    list=$(crate-mini train --sweep "$1" --list)
    shift
    while read -r run name; do train "$run" "$name" "$@"; done <<<"$list"
}
