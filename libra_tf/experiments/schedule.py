"""Data and 1x schedule of the Libra paper, shared by the three experiments."""

from __future__ import annotations

from official.modeling import optimization
from official.vision.configs import maskrcnn as tfm_maskrcnn
from official.vision.configs import retinanet as tfm_retinanet

from libra_tf.experiments import task_config

# Model Garden's ImageNet weights, the start of its own experiments too.
IMAGENET_RESNET50 = "gs://cloud-tpu-checkpoints/vision-2.0/resnet50_imagenet/ckpt-28080"
COCO_TRAIN_IMAGES = 118287
BATCH_SIZE = 16  # paper, section 4.2: 8 GPUs, 2 images each
EPOCHS, FIRST_DROP, SECOND_DROP = 12, 8, 11  # paper, section 4.2
STEPS_PER_EPOCH = COCO_TRAIN_IMAGES // BATCH_SIZE
WARMUP_STEPS = 500  # released 2019 configs: linear from a third of the rate
GRADIENT_CLIP = 35.0  # released 2019 configs: L2 norm over all gradients


def trainer(learning_rate: float) -> task_config.TrainerConfig:
    """Returns SGD for 12 epochs, dropped tenfold after 8 and 11 (paper, 4.2).

    Args:
        learning_rate: rate for a global batch of 16 images; scaled linearly to others.
    """
    return task_config.TrainerConfig(
        train_steps=EPOCHS * STEPS_PER_EPOCH,
        validation_steps=-1,  # all images, however many there are
        validation_interval=STEPS_PER_EPOCH,
        steps_per_loop=STEPS_PER_EPOCH // 66,
        summary_interval=STEPS_PER_EPOCH // 66,
        checkpoint_interval=STEPS_PER_EPOCH,
        best_checkpoint_export_subdir="best_ckpt",
        best_checkpoint_eval_metric="AP",
        reference_batch_size=BATCH_SIZE,
        optimizer_config=optimization.OptimizationConfig(
            {
                "optimizer": {
                    "type": "sgd",
                    "sgd": {"momentum": 0.9, "global_clipnorm": GRADIENT_CLIP},
                },
                "learning_rate": {
                    "type": "stepwise",
                    "stepwise": {
                        "boundaries": [
                            FIRST_DROP * STEPS_PER_EPOCH,
                            SECOND_DROP * STEPS_PER_EPOCH,
                        ],
                        "values": [
                            learning_rate,
                            learning_rate / 10,
                            learning_rate / 100,
                        ],
                    },
                },
                "warmup": {
                    "type": "linear",
                    "linear": {
                        "warmup_steps": WARMUP_STEPS,
                        "warmup_learning_rate": learning_rate / 3,
                    },
                },
            }
        ),
    )


def experiment(
    name: str,
    task: task_config.MaskRCNNTask | task_config.RetinaNetTask,
    parser: tfm_maskrcnn.Parser | tfm_retinanet.Parser,
    learning_rate: float,
) -> task_config.ExperimentConfig:
    """Returns the experiment that trains `task` on COCO for 12 epochs.

    Args:
        name: that it is registered by.
        task: detector and losses; data and initial weights are filled in.
        parser: how training data become images and labels.
        learning_rate: see `trainer`.
    """
    task.init_checkpoint = IMAGENET_RESNET50
    task.init_checkpoint_modules = "backbone"
    task.dataset = "coco"
    data = type(task.train_data)
    task.train_data = data(
        is_training=True,
        global_batch_size=BATCH_SIZE,
        dtype="float32",
        parser=parser,
    )
    task.validation_data = data(
        is_training=False, global_batch_size=8, dtype="float32", drop_remainder=False
    )
    return task_config.ExperimentConfig(
        experiment=name,
        runtime=task_config.RuntimeConfig(mixed_precision_dtype="float32"),
        task=task,
        trainer=trainer(learning_rate),
        restrictions=[
            "task.train_data.is_training != None",
            "task.validation_data.is_training != None",
        ],
    )
