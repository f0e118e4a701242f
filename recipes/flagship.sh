#!/usr/bin/env bash
# All 200 classes of Tiny-ImageNet at the segmentation paper's width 384, 6 heads, depth 12; patch 4 on 64 pixels, a
# 16 x 16 grid; Lion, three patches in twenty a step. An hour of a CPU core each where it computes in bfloat16, else
# up to four. CRATE and the ViT of as many parameters come first, with three seeds; then CRATE with one operator
# exchanged and the ViT of CRATE's width.
#
#   recipes/flagship.sh --rehearse
#   CRATE_MINI_DATA=... recipes/flagship.sh

source "$(dirname "${BASH_SOURCE[0]}")/common.bash"

sweep flagship --download
