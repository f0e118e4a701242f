#!/usr/bin/env bash
# The papers' own trainings, on a folder of images: $IMAGENET/train/<class>/... and $IMAGENET/val/<class>/...
# For many GPUs: GPUS=8 on one machine; on several, torchrun's --nnodes, --node-rank and --rdzv-endpoint as well.
#
#   recipes/imagenet.sh --rehearse
#   IMAGENET=... GPUS=8 recipes/imagenet.sh --only imagenet1k_lion

source "$(dirname "${BASH_SOURCE[0]}")/common.bash"
images=${IMAGENET:-imagenet}

# arXiv 2306.01129: CRATE-B, batches of 2048; crate_tiny, crate_small or crate_large by --model for the others
train imagenet1k_lion imagenet1k_lion --root "$images"

# the command in the README of the released code: CRATE-T, batches of 512
train imagenet1k_readme imagenet1k_readme --root "$images"

# arXiv 2308.16271: CRATE-S/8, batches of 4096, on the 21,841 classes of ImageNet-21k
train imagenet21k_lion imagenet21k_lion --root "${IMAGENET21K:-imagenet21k}"

# and fine-tuned from the first of them, on any folder of images
train finetune_adamw finetune_adamw --root "${MINE:-images}"
