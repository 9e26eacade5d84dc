#!/bin/sh
# The runs behind docs/results.md: base, + auxiliary, + tuning, both; on two cores, two at a time.
#   sh configs/experiments/mini80.sh [PYTHON]
# Kill it and start it again: finished runs are left alone, started ones resumed.
PYTHON=${1:-python}
export TF_CPP_MIN_LOG_LEVEL=3 TF_NUM_INTRAOP_THREADS=1 OMP_NUM_THREADS=1 PYTHON
mkdir -p runs/mini80

switches() {
    case $1 in
        base) echo "--tuner.steps 0 --loss.auxiliary 0" ;;
        auxiliary) echo "--tuner.steps 0 --loss.auxiliary 1" ;;
        tuning) echo "--tuner.steps 1 --loss.auxiliary 0" ;;
        both) echo "--tuner.steps 1 --loss.auxiliary 1" ;;
    esac
}

novel() {
    case $1 in
        0) echo "--data.novel_classes [airplane,bicycle,bird,boat,bottle]" ;;
        1) echo "--data.novel_classes [bus,car,cat,chair,cow]" ;;
    esac
}

run() { # backbone fold model seed
    name=runs/mini80/$1-fold$2-$3-seed$4
    echo "test -f $name/evaluations/novel_5shot.json || \$PYTHON -m sst_tf.train" \
        "configs/mini80_$1.yaml --run_dir $name --resume --train.seed $4" \
        "$(novel "$2") $(switches "$3") > $name.log 2>&1"
}

{
    for seed in 0 1 2; do for model in auxiliary both; do run resnet18 0 $model $seed; done; done
    for model in auxiliary both; do run resnet50 0 $model 0; done
    for model in base tuning; do run resnet18 0 $model 0; done
    for model in auxiliary both tuning base; do run resnet50 1 $model 0; done
    for model in base tuning; do run resnet50 0 $model 0; done
    for model in auxiliary both; do run vgg16 0 $model 0; done
} | xargs -P 2 -I COMMAND sh -c 'echo "COMMAND"; COMMAND'
