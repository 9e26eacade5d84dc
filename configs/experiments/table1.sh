#!/bin/sh
# The runs behind docs/results.md: base, + auxiliary, + tuning, both; on two cores, two at a time.
#   sh configs/experiments/table1.sh mini80|steps [PYTHON]
# mini80: real photos, folds, backbones, seeds.
# steps: other inner steps than the default's, ResNet-18 on fold 0.
# Kill it and start it again: finished runs are left alone, started ones resumed.
case $1 in mini80 | steps) ;; *) echo "which runs: mini80, steps?" >&2; exit 2 ;; esac
SET=$1 PYTHON=${2:-python}
export TF_CPP_MIN_LOG_LEVEL=3 TF_NUM_INTRAOP_THREADS=1 OMP_NUM_THREADS=1 PYTHON

switches() {
    case $1 in
        base) echo "--tuner.steps 0 --loss.auxiliary 0" ;;
        auxiliary) echo "--tuner.steps 0 --loss.auxiliary 1" ;;
        tuning) echo "--tuner.steps 1 --loss.auxiliary 0" ;;
        both) echo "--tuner.steps 1 --loss.auxiliary 1" ;;
        prototype) echo "--tuner.through prototype" ;;
        large) echo "--tuner.step_size 0.3" ;;
        learned) echo "--tuner.step_size learned" ;;
        first_order) echo "--tuner.second_order false" ;;
        paper) echo "--tuner.normalize none --tuner.step_size 1.0 --tuner.loss cross_entropy" ;;
    esac
}

novel() {
    case $1 in
        0) echo "--data.novel_classes [airplane,bicycle,bird,boat,bottle]" ;;
        1) echo "--data.novel_classes [bus,car,cat,chair,cow]" ;;
    esac
}

run() { # configuration, folder, options
    name=runs/$2
    echo "mkdir -p \$(dirname $name); test -f $name/evaluations/novel_5shot.json ||" \
        "\$PYTHON -m sst_tf.train configs/$1.yaml --run_dir $name --resume $3 > $name.log 2>&1"
}

photos() { # backbone fold row seed
    run "mini80_$1" "mini80/$1-fold$2-$3-seed$4" "--train.seed $4 $(novel "$2") $(switches "$3")"
}

case $SET in
    mini80)
        for seed in 0 1 2; do for row in auxiliary both; do photos resnet18 0 $row $seed; done; done
        for seed in 0 1; do for fold in 1 0; do for row in auxiliary both; do
            photos resnet50 $fold $row $seed
        done; done; done
        for row in base tuning; do photos resnet18 0 $row 0; done
        for fold in 0 1; do for row in base tuning; do photos resnet50 $fold $row 0; done; done
        for row in auxiliary both; do photos vgg16 0 $row 0; done ;;
    steps)
        for row in prototype large learned first_order paper; do photos resnet18 0 $row 0; done ;;
esac | xargs -P 2 -I COMMAND sh -c 'echo "COMMAND"; COMMAND'
