"""The 1x schedule of the Libra paper, shared by the three experiments."""

from __future__ import annotations

from official.modeling import optimization

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
