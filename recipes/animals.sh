#!/usr/bin/env bash
# The weights that come with the package: 25 animals of Tiny-ImageNet, for two CPU cores, some hours in all.
# tools/ship_weights.py puts a finished run into the package.
#
#   recipes/animals.sh --rehearse
#   CRATE_MINI_DATA=... recipes/animals.sh

source "$(dirname "${BASH_SOURCE[0]}")/common.bash"

# the pair that most chapters look at: 30 epochs on all patches
train crate_mini_animals
train vit_mini_animals

# the family under one recipe, 20 epochs on three patches in ten: CRATE, with its weights on the way, and the ViT
# of as many parameters
train crate_mini_animals_s0
train vit_mini_animals_s0

# one operator exchanged, or both, at CRATE's width; the ViT with as many heads as CRATE
train crate_mhsa_mini_animals_s0
train crate_mlp_mini_animals_s0
train vit_wide_mini_animals_s0
train vit_mini_6_animals_s0

# depth
for depth in 2 4 6; do
    train crate_mini_depth${depth}_animals_s0
done

# width; 192 is the family's
for dim in 96 288; do
    train crate_mini_width${dim}_animals_s0
done

# three times as long by the papers' optimiser: CRATE and ViT, each with six heads and with three
for seed in 0 1 2; do
    for network in crate_mini vit_mini vit_mini_6; do
        train ${network}_animals_lion_s$seed
    done
done
train crate_mini_heads3_animals_lion_s0

# one setting changed at a time; scored by tools/score_variants.py, not shipped
for variant in classes crops decay lion patch4 tuned; do
    train crate_mini_$variant
    train vit_mini_$variant
done

# two more seeds
for seed in 1 2; do
    for network in crate_mini vit_mini crate_mhsa_mini crate_mlp_mini; do
        train ${network}_animals_s$seed
    done
done
