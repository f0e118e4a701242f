# Completion for crate-mini. In bash:  source <(crate-mini completion bash)
# In zsh the same, after:  autoload -U +X bashcompinit && bashcompinit
_crate_mini() {
    local word path='' words='' current=${COMP_WORDS[COMP_CWORD]}
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        case "$path $word" in
            ' train') path=' train' ;;
            ' evaluate') path=' evaluate' ;;
            ' evaluate accuracy') path=' evaluate accuracy' ;;
            ' evaluate segmentation') path=' evaluate segmentation' ;;
            ' evaluate maskcut') path=' evaluate maskcut' ;;
            ' evaluate heads') path=' evaluate heads' ;;
            ' evaluate reading') path=' evaluate reading' ;;
            ' evaluate transfer') path=' evaluate transfer' ;;
            ' evaluate text') path=' evaluate text' ;;
            ' layerwise') path=' layerwise' ;;
            ' inspect') path=' inspect' ;;
            ' export') path=' export' ;;
            ' data') path=' data' ;;
            ' import') path=' import' ;;
            ' doctor') path=' doctor' ;;
            ' completion') path=' completion' ;;
        esac
    done
    case "$path ${COMP_WORDS[COMP_CWORD-1]}" in
        ' train --sweep') words='flagship tiny_imagenet all_classes three_in_four animals_family variants embedded views views_animals operators' ;;
        ' train --task') words='classification simdino dino masked next-token' ;;
        ' train --data') words='embedded embedded-pairs embedded-kinds tiny-imagenet tiny-imagenet-animals tiny-imagenet-150 tiny-imagenet-50 imagenette cifar10 cifar100 stl10 pets caltech101 voc2012 coco pascal-part horses folder masks' ;;
        ' evaluate --data') words='embedded embedded-pairs embedded-kinds tiny-imagenet tiny-imagenet-animals tiny-imagenet-150 tiny-imagenet-50 imagenette cifar10 cifar100 stl10 pets caltech101 voc2012 coco pascal-part horses folder masks' ;;
        ' evaluate accuracy --data') words='embedded embedded-pairs embedded-kinds tiny-imagenet tiny-imagenet-animals tiny-imagenet-150 tiny-imagenet-50 imagenette cifar10 cifar100 stl10 pets caltech101 voc2012 coco pascal-part horses folder masks' ;;
        ' evaluate segmentation --data') words='embedded embedded-pairs embedded-kinds tiny-imagenet tiny-imagenet-animals tiny-imagenet-150 tiny-imagenet-50 imagenette cifar10 cifar100 stl10 pets caltech101 voc2012 coco pascal-part horses folder masks' ;;
        ' evaluate segmentation --rule') words='best_iou auroc ap mass patch' ;;
        ' evaluate segmentation --resolution') words='pixel patch' ;;
        ' evaluate segmentation --objects') words='mask parts instances' ;;
        ' evaluate maskcut --data') words='embedded embedded-pairs embedded-kinds tiny-imagenet tiny-imagenet-animals tiny-imagenet-150 tiny-imagenet-50 imagenette cifar10 cifar100 stl10 pets caltech101 voc2012 coco pascal-part horses folder masks' ;;
        ' evaluate maskcut --objects') words='mask parts instances' ;;
        ' evaluate heads --data') words='embedded embedded-pairs embedded-kinds tiny-imagenet tiny-imagenet-animals tiny-imagenet-150 tiny-imagenet-50 imagenette cifar10 cifar100 stl10 pets caltech101 voc2012 coco pascal-part horses folder masks' ;;
        ' evaluate heads --by') words='attention energy' ;;
        ' evaluate reading --data') words='embedded embedded-pairs embedded-kinds tiny-imagenet tiny-imagenet-animals tiny-imagenet-150 tiny-imagenet-50 imagenette cifar10 cifar100 stl10 pets caltech101 voc2012 coco pascal-part horses folder masks' ;;
        ' evaluate transfer --data') words='embedded embedded-pairs embedded-kinds tiny-imagenet tiny-imagenet-animals tiny-imagenet-150 tiny-imagenet-50 imagenette cifar10 cifar100 stl10 pets caltech101 voc2012 coco pascal-part horses folder masks' ;;
        ' evaluate transfer --method') words='probe knn finetune' ;;
        ' evaluate transfer --pool') words='class mean both' ;;
        ' layerwise --data') words='embedded embedded-pairs embedded-kinds tiny-imagenet tiny-imagenet-animals tiny-imagenet-150 tiny-imagenet-50 imagenette cifar10 cifar100 stl10 pets caltech101 voc2012 coco pascal-part horses folder masks' ;;
        ' layerwise --normalise') words='none token head' ;;
        *) case "$path" in
                '') words='train evaluate layerwise inspect export data import doctor completion -h --help --version' ;;
                ' train') words='-h --help --recipe --sweep --list --model --start --task --task-set --data --root --image-size --download --stream --workers --epochs --batch-size --lr --warmup-epochs --keep-patches --precision --compile --no-compile --seed --patch-size --set --out --device --save-at --tensorboard --rehearse' ;;
                ' evaluate') words='accuracy segmentation maskcut heads reading transfer text -h --help --weights --split --n --seed --untrained --device --out --json --dirty --data --root --image-size --download' ;;
                ' evaluate accuracy') words='-h --help --weights --split --n --seed --untrained --device --out --json --dirty --data --root --image-size --download' ;;
                ' evaluate segmentation') words='-h --help --weights --split --n --seed --untrained --device --out --json --dirty --data --root --image-size --download --letterbox --rule --share --layer --heads --resolution --objects --shifts --smooth --choose-on --choice-from --no-control --leave-out --batch-size' ;;
                ' evaluate maskcut') words='-h --help --weights --split --n --seed --untrained --device --out --json --dirty --data --root --image-size --download --letterbox --size --layers --n-masks --tau --objects' ;;
                ' evaluate heads') words='-h --help --weights --split --n --seed --untrained --device --out --json --dirty --data --root --image-size --download --by --random --batch-size' ;;
                ' evaluate reading') words='-h --help --weights --split --n --seed --untrained --device --out --json --dirty --data --root --image-size --download --layers --batch-size' ;;
                ' evaluate transfer') words='-h --help --weights --split --n --seed --untrained --device --out --json --dirty --data --root --image-size --download --n-train --method --pool --l2 --recipe --epochs --folder' ;;
                ' evaluate text') words='-h --help --weights --root --write --temperature --seed --out --json --dirty' ;;
                ' layerwise') words='-h --help --weights --split --n --seed --untrained --device --out --json --dirty --data --root --image-size --download --eps-sq --normalise --lam --near-zero --batch-size' ;;
                ' inspect') words='-h --help --weights --compare --size --out --open' ;;
                ' export') words='-h --help --weights --out --logits-only' ;;
                ' data') words='embedded embedded-pairs embedded-kinds tiny-imagenet tiny-imagenet-animals tiny-imagenet-150 tiny-imagenet-50 imagenette cifar10 cifar100 stl10 pets caltech101 voc2012 coco pascal-part horses folder masks -h --help --root --split --image-size --download --check --out' ;;
                ' import') words='-h --help --heads --out' ;;
                ' doctor') words='-h --help --root --json' ;;
                ' completion') words='bash zsh -h --help' ;;
            esac ;;
    esac
    COMPREPLY=()
    while read -r word; do COMPREPLY+=("$word"); done < <(compgen -W "$words" -- "$current")
}
complete -o default -F _crate_mini crate-mini
