#!/usr/bin/env bash
# All 200 classes of Tiny-ImageNet by the papers' optimiser, on a part of the patches. CRATE and ViT of as many
# parameters and heads, at the book's own size, patch 8: 40 minutes each on one core of a CPU.
#
#   recipes/all_classes.sh --rehearse
#   CRATE_MINI_DATA=... recipes/all_classes.sh

source "$(dirname "${BASH_SOURCE[0]}")/common.bash"

sweep all_classes --download
