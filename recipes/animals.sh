#!/usr/bin/env bash
# The weights that come with the package: 25 animals of Tiny-ImageNet, for two CPU cores, some hours in all.
# tools/ship_weights.py puts a finished run into the package.
#
#   recipes/animals.sh --rehearse
#   CRATE_MINI_DATA=... recipes/animals.sh

source "$(dirname "${BASH_SOURCE[0]}")/common.bash"

# the family under one recipe, 20 epochs on three patches in ten: CRATE, the ViT of as many parameters, operators
# exchanged, heads, depth, width; three seeds at least
sweep animals_family

# one setting changed at a time; scored by tools/score_variants.py, not shipped
sweep variants
