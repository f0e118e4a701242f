#!/usr/bin/env bash
# All 200 classes of Tiny-ImageNet at the segmentation paper's width 384, 6 heads, depth 12; patch 4 on 64 pixels, a
# 16 x 16 grid; AdamW, 100 epochs of all patches. For one modern GPU. What matters most comes first: CRATE and the ViT
# of as many parameters, operators exchanged, depths, the ViT of CRATE's width, two more seeds.
#
#   recipes/tiny_imagenet.sh --rehearse     first, to see that all of it works on this machine
#   recipes/tiny_imagenet.sh

source "$(dirname "${BASH_SOURCE[0]}")/common.bash"

sweep tiny_imagenet --download
