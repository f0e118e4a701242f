#!/usr/bin/env bash
# All 200 classes of Tiny-ImageNet by the papers' optimiser, on a part of the patches. CRATE and ViT of as many
# parameters, each with six heads and with three.
#
#   recipes/all_classes.sh --rehearse
#   CRATE_MINI_DATA=... recipes/all_classes.sh

source "$(dirname "${BASH_SOURCE[0]}")/common.bash"

# the book's own size, patch 8: half an hour each on one core of a CPU
for seed in 0 1 2; do
    for network in crate_mini crate_mini_heads3 vit_mini vit_mini_6; do
        train ${network}_all_lion_s$seed --download
    done
done

# the segmentation paper's width, patch 4: for a GPU
for seed in 0 1 2; do
    for network in crate_small crate_small_heads3 vit_tiny vit_tiny_6; do
        train ${network}_all_lion_s$seed --download
    done
done
