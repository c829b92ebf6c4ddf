"""Limits of settings that Model Garden declares; it declares none itself.

Model Garden uses a name for one thing, wherever it stands: a `momentum` is a factor
below 1 in each optimizer. So limits go with names, and with places where one name means
two things. What is not here may have any value of its type, see `fields.check_fields`.
"""

from __future__ import annotations

from official.vision.modeling.backbones.resnet import RESNET_SPECS

from libra_tf.losses.focal import MAX_GAMMA
from libra_tf.samplers.rule import SamplingRule
from libra_tf.setting import Limits, limits_of

_STEPS = Limits(low=1, unit="steps")
_STEPS_OR_NONE = Limits(low=0, unit="steps")
_IMAGES = Limits(low=1, unit="images")
_RULE = (
    "num_sampled_rois",
    "foreground_fraction",
    "foreground_iou_threshold",
    "background_iou_high_threshold",
    "background_iou_low_threshold",
)
_FRACTION = Limits(low=0, high=1)
_POSITIVE, _NOT_NEGATIVE = Limits(above=0), Limits(low=0)
_CHANNELS = Limits(low=1, high=2**16, unit="channels")
_LAYERS = Limits(low=1, high=1000, unit="layers")
_LAYERS_OR_NONE = Limits(low=0, high=1000, unit="layers")
_BOXES = Limits(low=1, high=10**6, unit="boxes")
_CELLS = Limits(low=1, high=1024, unit="cells")
_LEVEL = Limits(low=1, high=12)
_SEED = Limits(low=0, high=2**31 - 1)
_LEARNING_RATE = Limits(low=0)
_PARTS = Limits(choices=("all", "backbone", "decoder"), fewest=1)
# Those that Model Garden's and Keras' names stand for.
_ACTIVATIONS = Limits(
    choices=(
        "relu", "relu6", "leaky_relu", "swish", "silu", "simple_swish", "hard_swish",
        "gelu", "mish", "elu", "selu", "sigmoid", "hard_sigmoid", "softplus",
        "softsign", "tanh", "exponential", "linear", "identity",
    )
)  # fmt: skip

INHERITED = {
    "runtime.all_reduce_alg": Limits(
        choices=(None, "", "nccl", "hierarchical_copy", "ring")
    ),
    "runtime.distribution_strategy": Limits(
        choices=(
            "mirrored",
            "one_device",
            "multi_worker_mirrored",
            "parameter_server",
            "tpu",
            "off",
        )
    ),
    "runtime.gpu_thread_mode": Limits(
        choices=(None, "", "global", "gpu_private", "gpu_shared")
    ),
    "runtime.mixed_precision_dtype": Limits(
        choices=(None, "float32", "float16", "bfloat16")
    ),
    "runtime.num_gpus": Limits(low=0, high=2**16, unit="devices"),
    "task.init_checkpoint_modules": _PARTS,
    "task.losses.class_weights": _NOT_NEGATIVE,
    "task.losses.focal_loss_alpha": _FRACTION,
    "task.losses.focal_loss_gamma": Limits(low=0, high=MAX_GAMMA),
    "task.losses.frcnn_class_loss_top_k_percent": Limits(above=0, high=1),
    "task.allowed_mask_class_ids": Limits(low=0, high=2**20),
    "task.model.anchor.anchor_size": Limits(above=0, high=10_000),
    "task.model.anchor.aspect_ratios": Limits(above=0, fewest=1),
    "task.model.anchor.num_scales": Limits(low=1, high=100),
    "task.model.backbone.mobilenet.output_stride": Limits(low=1, high=32),
    "task.model.backbone.resnet.model_id": Limits(
        choices=tuple(RESNET_SPECS), unit="layers"
    ),
    "task.model.detection_generator.box_coder_weights": Limits(above=0, fewest=4),
    "task.model.input_size": Limits(high=2**16, unit="pixels"),
    # At 1 there are no outer boxes.
    "task.model.outer_boxes_scale": Limits(low=1, high=100),
    "task.model.num_classes": Limits(high=2**20),
    # Of Cascade R-CNN: the IoU from which a RoI is foreground.
    "task.model.roi_sampler.cascade_iou_thresholds": Limits(above=0, high=1),
    **{f"task.model.roi_sampler.{n}": limits_of(SamplingRule, n) for n in _RULE},
    "task.train_data.global_batch_size": _IMAGES,
    "task.validation_data.global_batch_size": _IMAGES,
    "trainer.best_checkpoint_metric_comp": Limits(choices=("higher", "lower")),
    "trainer.checkpoint_interval": _STEPS,
    "trainer.loss_upper_bound": _POSITIVE,
    "trainer.max_to_keep": Limits(low=1, unit="checkpoints"),
    "trainer.steps_per_loop": _STEPS,
    "trainer.summary_interval": _STEPS,
    "trainer.train_steps": _STEPS_OR_NONE,
    # Orbit would train a negative number of steps for ever; 0 evaluates at the end.
    "trainer.validation_interval": _STEPS_OR_NONE,
}

BY_NAME = {
    **dict.fromkeys(
        (
            "alpha", "attention_dropout_rate", "centered_rate", "dropout_rate",
            "init_stochastic_depth_rate", "linear_decay_fraction", "match_threshold",
            "mask_binarize_threshold", "nms_iou_threshold", "nms_score_threshold",
            "norm_momentum", "pre_nms_score_threshold", "rpn_fg_fraction",
            "rpn_match_threshold", "rpn_unmatched_threshold", "sample_offset",
            "se_ratio", "stochastic_depth_drop_rate", "test_nms_iou_threshold",
            "test_pre_nms_score_threshold", "unmatched_threshold",
        ),
        _FRACTION,
    ),
    **dict.fromkeys(
        ("depth_multiplier", "filter_size_scale"), Limits(above=0, high=16)
    ),
    "norm_epsilon": Limits(above=0, high=1),
    # Of optimizers and moving averages: 1 would never let anything in.
    **dict.fromkeys(
        ("average_decay", "beta1", "beta_1", "beta_2", "momentum", "rho"),
        Limits(low=0, below=1),
    ),
    **dict.fromkeys(
        (
            "aug_scale_max", "aug_scale_min", "clip_threshold", "clipnorm",
            "clipping_threshold", "clipvalue", "decay_rate", "eeta",
            "frcnn_huber_loss_delta", "global_clipnorm",
            "h_scale", "huber_loss_delta", "ratio_clip_norm",
            "rpn_huber_loss_delta", "w_scale", "x_scale", "y_scale",
        ),
        _POSITIVE,
    ),
    **dict.fromkeys(
        (
            "box_loss_weight", "decay", "epsilon", "epsilon1", "epsilon2", "epsilon_1",
            "epsilon_2", "frcnn_box_weight", "frcnn_class_weight",
            "gradient_clip_norm", "initial_accumulator_value", "l2_weight_decay",
            "layer_scale_init_value", "loss_weight", "mask_weight",
            "pre_nms_min_size_threshold", "recovery_max_trials", "rpn_box_weight",
            "rpn_score_weight", "soft_nms_sigma",
            "test_pre_nms_min_size_threshold", "weight_decay",
            "weight_decay_rate",
        ),
        _NOT_NEGATIVE,
    ),
    **dict.fromkeys(
        (
            "end_learning_rate", "initial_learning_rate", "learning_rate",
            "pre_offset_learning_rate", "sparse_layer_learning_rate",
            "warmup_learning_rate",
        ),
        _LEARNING_RATE,
    ),
    "values": Limits(low=0, fewest=1),
    "boundaries": Limits(low=0, fewest=1, unit="steps"),
    **dict.fromkeys(
        (
            "offset", "recovery_begin_steps", "start_step", "step_offset",
            "warmup_steps",
        ),
        _STEPS_OR_NONE,
    ),
    "representation_size": Limits(low=0, high=2**16, unit="channels"),
    **dict.fromkeys(("decay_steps", "total_decay_steps"), _STEPS),
    **dict.fromkeys(
        ("fc_dims", "hidden_size", "mlp_dim", "num_filters"), _CHANNELS
    ),
    **dict.fromkeys(
        ("expand_ratio", "last_stage_repeats", "num_heads", "num_layers",
         "num_repeats"),
        _LAYERS,
    ),
    **dict.fromkeys(("num_convs", "num_fcs"), _LAYERS_OR_NONE),
    **dict.fromkeys(
        (
            "detections_per_class", "max_classes_per_detection", "max_detections",
            "max_num_detections", "num_proposals", "num_sampled_masks",
            "pre_nms_top_k", "rpn_batch_size_per_im", "test_num_proposals",
            "test_pre_nms_top_k",
        ),
        _BOXES,
    ),
    "max_num_instances": Limits(low=1, high=10**6, unit="objects"),
    **dict.fromkeys(("crop_size", "mask_crop_size", "patch_size"), _CELLS),
    "upsample_factor": Limits(low=1, high=64),
    **dict.fromkeys(("level", "max_level", "min_level"), _LEVEL),
    **dict.fromkeys(
        ("dilation_rates", "multigrid", "output_stride", "pool_kernel_size",
         "pos_embed_shape"),
        Limits(low=1, high=2**16),
    ),
    "seed": _SEED,
    "num_channels": Limits(choices=(3,)),
    **dict.fromkeys(
        ("block_length", "continuous_eval_timeout", "cycle_length",
         "min_dim_size_to_factor", "ram_budget", "shuffle_buffer_size"),
        Limits(low=1),
    ),
    **dict.fromkeys(
        ("dataset_num_private_threads", "num_cores_per_replica"),
        Limits(low=1, high=2**16),
    ),
    **dict.fromkeys(("num_packs", "per_gpu_thread_count"), Limits(low=0, high=2**16)),
    # -1 leaves the choice to TensorFlow, or is not known.
    **dict.fromkeys(
        ("default_shard_dim", "num_examples", "prefetch_buffer_size", "task_index"),
        Limits(low=-1),
    ),
    "activation": _ACTIVATIONS,
    "autotune_algorithm": Limits(
        choices=(
            None, "", "default", "hill_climb", "gradient_descent", "max_parallelism",
            "stage_based",
        )
    ),
    "dtype": Limits(choices=("float32", "float16", "bfloat16")),
    "file_type": Limits(choices=("tfrecord", "tfrecord_compressed")),
    "fusion_type": Limits(choices=("sum", "concat")),
    "nms_version": Limits(choices=("batched", "v1", "v2", "v3", "tflite")),
    "spp_layer_version": Limits(choices=("v1", "v2")),
    "stem_type": Limits(choices=("v0", "v1")),
}  # fmt: skip


def inherited_limits(place: str, name: str) -> Limits:
    """Returns the limits of one of Model Garden's settings.

    Args:
        place: "task.model.anchor.num_scales".
        name: "num_scales".
    """
    return INHERITED.get(place) or BY_NAME.get(name, Limits())
