#!/usr/bin/env bash
# The full list on Tiny-ImageNet, all 200 classes, at the segmentation paper's width 384, 6 heads, depth 12; patch 4
# on 64 pixels, a 16 x 16 grid. For one modern GPU. What matters most comes first.
#
#   recipes/tiny_imagenet.sh --rehearse     first, to see that all of it works on this machine
#   recipes/tiny_imagenet.sh

source "$(dirname "${BASH_SOURCE[0]}")/common.bash"

# CRATE, with its weights on the way at 2, 5, 20 and 50 %, and the ViT of as many parameters
train tiny_imagenet_crate --download
train tiny_imagenet_vit --download

# one operator exchanged, at CRATE's width
train tiny_imagenet_crate_mhsa --download
train tiny_imagenet_crate_mlp --download

# depth
for depth in 3 6 9; do
    train tiny_imagenet_crate_depth$depth --download
done

# both operators exchanged: the ViT of CRATE's width
train tiny_imagenet_vit_wide --download

# two more seeds of each
for seed in 1 2; do
    for network in crate vit crate_mhsa crate_mlp vit_wide; do
        train tiny_imagenet_${network}_s$seed --download
    done
done
