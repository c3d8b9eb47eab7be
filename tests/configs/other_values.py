"""Another value of each option, what else it needs to act, and the few that act where nothing is built."""

from typing import Any

# Where the type of an option's own value suggests none that fits.
OTHER: dict[str, Any] = {
    "attention.gamma": 1.0, "attention.softmax_axis": "queries", "attention.mask": "constant",
    "attention.gate": "hard", "attention.upsample": "bilinear", "attention.enhance": "none", "attention.zoom": 3,
    "attention.kernel_size": 5, "attention.enhance_kernel_size": 5, "attention.threshold": 0.7,
    "attention.heads": 2, "attention.start": "identity", "attention.reduction": 2, "attention.bias": 2.0,
    "attention.combine": "gated", "attention.branches.second.reduction": 2,
    "attention.name": "ela", "attention.window": 3, "attention.dropout": 0.5,
    "insertion.at": [0, 2],
    "backbone.name": "resnet18", "backbone.image_size": 96, "backbone.patch_size": 16, "backbone.embed_dim": 48,
    "backbone.position_start": "sinusoid_2d",
    "backbone.blocks": 4, "backbone.global_pool": "token", "backbone.num_heads": 2, "backbone.depth": 2,
    "tokens.rates": {"prune_kept_num": [37, 30, 20, 10], "merge_kept_num": [37, 28, 18, 9]}, "tokens.order": "score",
    "tokens.locations": [2], "tokens.samples": 20, "tokens.package": "sum", "tokens.select": "rate",
    "tokens.bsm_blocks": "none", "tokens.thresholds": 8.0, "tokens.embedding": "resize", "tokens.mean": [0.4],
    "tokens.std": [0.1], "tokens.schedule": "layer_to_stage", "tokens.warmup": "2/3",
    "tokens.eta": 2, "tokens.alpha": 0.3, "tokens.alpha_range": [0.1, 0.2], "tokens.test_alpha": 0.6,
    "tokens.coverage": "paper", "tokens.budget": 3, "tokens.positions": "sinusoid_2d", "tokens.zfe": "none",
    "tokens.zfe_direction": "learned", "tokens.pruning": "none", "tokens.mode": "paper", "tokens.threshold": 0.2,
    "tokens.prune_blocks": 1, "tokens.prune_order": "forward", "tokens.prune_group": "zoomed", "tokens.prune_n": 2,
    "tokens.prune_alpha": 0.6, "tokens.cell": 8,
    "tokens.scorer.layers": "mean", "tokens.scorer.scale": "given", "tokens.scorer.input_size": 24,
    "tokens.scorer.scorer.input_size": 24, "tokens.scorer.blocks": 4, "tokens.scorer.scorer.blocks": 4,
    "tokens.scorer.depth": 2, "tokens.scorer.width": 32,
    "loss.reduction": "sum", "loss.class_weights": "balanced", "loss.kl_direction": "teacher_student",
    "loss.scale": "given", "loss.smooth": 0.5, "loss.giou_cost": 90.0, "loss.label_smoothing": 0.2,
    "loss.warmup_epochs": 2,
    "mixing.cutmix_alpha": 0.3, "mixing.prob": 0.5,
    "optimizer.opt": "adamax", "optimizer.no_decay": ["norm"], "optimizer.layer_decay": 0.5,
    "scheduler.milestones": [2, 4], "scheduler.epochs": 9,
    "dataset.validate_on": "test", "dataset.crop_size": 8, "dataset.train_scale": [0.1, 0.2], "dataset.crop_pct": 0.5,
    "dataset.background": "black", "dataset.on_bad_image": "skip", "dataset.sampler": "balanced", "dataset.folds": 4,
    "dataset.on_duplicate": "drop", "dataset.image_size": 24, "dataset.fold": 1, "dataset.interpolation": "bicubic",
    "dataset.val_fraction": 0.3, "dataset.test_fraction": 0.5, "dataset.erasing": 0.9, "dataset.train_size": 13,
    "dataset.test_size": 7, "dataset.augment": "three_augment", "dataset.canvas": 40, "dataset.digit_size": 12,
    "dataset.digit_sizes": [10, 12], "dataset.scales": [40],
    "dataset.enlarge": 1.5, "dataset.multiple": 16,
    "dataset.test_scale": 64, "detector.boxes": 5, "detector.start_size": [64, 64],
    "detector.layer_size": [48, 48], "decoder.features": 3, "decoder.enlarge": 1.5,
    "head.views": ["mix"], "head.test": "raw", "head.test_threshold": 0.9, "head.test_padding": 0.4,
    "head.at": "stage3",
    "callbacks.checkpoints.monitor": "val/loss", "callbacks.checkpoints.mode": "min",
    "callbacks.early_stopping.monitor": "val/acc1", "callbacks.early_stopping.mode": "max",
    "task.alphas": [0.5], "task.tta": "hflip", "task.penalties": [3.0], "train.all_from": 2, "train.unfreeze_every": 2,
    "train.part": "module", "train.batch_norms": "fixed", "callbacks.probe_first.penalties": [3.0],
    "logger.entity": "someone", "logger.mode": "disabled", "logger.project": "other",
    "relevance.controls": {"rollout": {"_target_": "zoomexp.relevance.rollout.rollout", "_partial_": True}},
    "trainer.precision": "bf16-mixed", "trainer.gradient_clip_val": 1.0,
    "trainer.profiler": "simple", "trainer.strategy": "ddp", "trainer.devices": 2, "trainer.limit_train_batches": 3,
    "trainer.limit_val_batches": 3, "trainer.limit_test_batches": 3, "trainer.graph": "auto",
}  # fmt: skip
# The same, where a choice needs one of its own.
OF_CHOICE: dict[tuple[str, str], Any] = {
    ("vit_digits", "backbone.name"): "deit3_small_patch16_224", ("zoomer", "backbone.patch_size"): 32,
    ("zoomvit_paper", "tokens.coverage"): "cell", ("zoomvit_paper", "tokens.positions"): "learned",
    ("fixed_norms", "train.batch_norms"): "trained", ("last_blocks", "train.batch_norms"): "trained",
    ("last_block", "train.batch_norms"): "trained",
    ("multistep", "scheduler.epochs"): 6, ("digits", "dataset.crop_size"): 6,
    ("zoomvit_paper", "tokens.zfe"): "none", ("zoomvit_paper", "tokens.mode"): "padded",
    ("zoomvit_fixed", "tokens.alpha"): 0.6, ("zoomvit_fixed", "tokens.prune_group"): "unzoomed",
}  # fmt: skip
# What stands in a config here: what its user must give, and what suits a host of 4 blocks on 36 patches, or 24 images.
GIVEN: dict[str, dict[str, Any]] = {
    "backbone=timm": {"name": "resnet10t"}, "backbone=lv_vit_s": {"image_size": 32, "depth": 3, "embed_dim": 24},
    "backbone=zoomer": {"image_size": 64},
    "task=probe": {"cache": "features"}, "callbacks=probe_first": {"probe_first.cache": "features"},
    "tokens=ats": {"locations": [1]}, "tokens=cf_vit": {"first_block": 1},
    "tokens=tome": {"r": 4}, "tokens=tofu": {"r": 4}, "tokens=pitome": {"keep_rate": 0.8},
    "tokens=diffrate": {"prune": 3, "merge": 3},
    "tokens=a_vit": {"target_depth": 2.0, "gate_scale": 0.4, "gate_center": 2.0}, "tokens=fusion": {"alpha": 0.4},
    "tokens=ia_red2": {"locations": [0, 1], "threshold": 0.88}, "tokens=evo_vit": {"locations": [1, 3]},
    **{f"tokens={name}": {"locations": [1]} for name in ("evit", "topk", "random", "dynamicvit", "spvit")},
    "dataset=cluttered_digits": {"train_images": 40, "test_images": 12}, "dataset=digits": {"train_size": 43},
    "dataset=coco": {"scales": [32, 48], "test_scale": 48, "multiple": 8, "val_fraction": 0.2},
    "dataset=digit_scenes": {"train_images": 43, "test_images": 12},
    "dataset=digit_masks": {"train_images": 43, "test_images": 12},
    "tokens/scorer=cls_attention": {"vit": None}, "tokens/scorer=zoomer": {"checkpoint": None},
    "tokens/scorer=inverted": {"scorer.checkpoint": None}, "tokens/scorer=shuffled": {"scorer.checkpoint": None},
    "relevance": {"teacher": None},
}  # fmt: skip
# What another option must be for one to act.
WITH: dict[str, dict[str, Any]] = {
    "self_attention: attention.start": {"gamma": 1.0}, "multi_head: attention.start": {"gamma": 1.0},  # is refused
    "attention.seed": {"mask": "random"}, "attention.threshold": {"gate": "threshold"},
    "scheduler.gamma": {"milestones": [2]}, "scheduler.epochs": {"warmup_epochs": 7},
    "tokens.alpha_range": {"alpha": "random", "test_alpha": 0.1}, "tokens.prune_n": {"pruning": "top_n", "prune_n": 1},
    "tokens.prune_order": {"pruning": "top_n", "prune_n": 2}, "tokens.prune_group": {"pruning": "top_n", "prune_n": 2},
    "tokens.prune_alpha": {"pruning": "match_alpha", "alpha": 0.1, "test_alpha": 0.1, "prune_alpha": 0.3},
    "backbone.mix_token": {"image_size": 64, "patch_size": 8}, "tokens.warmup_positions": {"warmup": "2/3"},
    "tokens.pruning": {"pruning": "match_alpha", "alpha": 0.1, "test_alpha": 0.1, "prune_alpha": 0.3},
    "dataset.fold": {"fold": 0, "folds": 3}, "dataset.folds": {"fold": 0, "folds": 3},
    **{f"{name}: dataset.split_seed": {"test_size": 7}
       for name in ("imagenet_a", "imagenet_r", "imagenet_real", "imagenet_sketch", "imagenet_v2")},
    "optimizer.nesterov": {"momentum": 0.9}, "head.test_padding": {"test_threshold": 0.9},
}  # fmt: skip
# Options that act where nothing is built, and the test of each: file and function. "of" a choice, or of all.
CSV, HUB = "tests/datasets/test_csv_list.py::", "tests/datasets/test_huggingface.py::"
NEEDS = "tests/train/test_needs.py::test_one_command_makes_teacher_maps_zoomer_and_the_transformer_with_its_tokens"
ELSEWHERE: dict[str, str] = {
    "dataset.data_dir": "tests/train/test_bad_input.py::test_missing_data",
    "dataset.masks": "tests/datasets/test_masks.py::test_a_mask_is_seen_as_its_image_is",
    "image_folder: dataset.folder": "tests/datasets/test_image_folder.py::test_a_folder_that_cannot_be_used",
    "coco: dataset.folder": "tests/datasets/test_coco.py::test_refusals",
    "imagenet: dataset.folder": "tests/datasets/test_imagenet.py::test_not_there",
    "csv: dataset.file": f"{CSV}test_no_such_file", "csv: dataset.root": f"{CSV}test_what_is_wrong_is_one_line",
    **{f"csv: dataset.columns.{name}": f"{CSV}test_all_columns_in_any_order_by_any_name"
       for name in ("path", "label", "split", "box", "group")},
    "huggingface: dataset.path": f"{HUB}test_a_parquet_file_is_parted_here",
    "huggingface: dataset.config": f"{HUB}test_what_is_wrong_is_one_line",
    "huggingface: dataset.revision": f"{HUB}test_what_is_wrong_is_one_line",
    **{f"huggingface: dataset.columns.{name}": f"{HUB}test_splits_that_were_saved_and_groups"
       for name in ("image", "label", "box", "group")},
    "vit_digits: backbone.checkpointing": "tests/backbones/test_checkpointing.py::"
                                          "test_checkpointing_computes_again_and_changes_nothing",
    "ia_red2: tokens.tau": "tests/tokens/test_ia_red2.py::test_the_loss_is_that_of_the_equation",
    **{f"{name}: dataset.{option}": "tests/datasets/test_cifar_c.py::test_the_images_of_a_kind_and_severity"
       for name in ("cifar10_c", "cifar100_c") for option in ("kind", "severity")},
    "oxford_pet: dataset.folder": "tests/datasets/test_oxford_pet.py::test_the_layout_may_have_another_name",
    "visa: dataset.folder": "tests/datasets/test_visa.py::test_one_product_and_another_list",
    "visa: dataset.product": "tests/datasets/test_visa.py::test_one_product_and_another_list",
    "visa: dataset.split_file": "tests/datasets/test_visa.py::test_what_is_wrong_is_one_line",
    "medmnist: dataset.flag": "tests/datasets/test_medmnist.py::test_the_splits_are_those_of_the_file",
    "medmnist: dataset.side": "tests/datasets/test_medmnist.py::test_the_splits_are_those_of_the_file",
    "elpv: dataset.target": "tests/datasets/test_elpv.py::test_the_cells_are_the_packages_own",
    "elpv: dataset.kind": "tests/datasets/test_elpv.py::test_the_cells_are_the_packages_own",
    "tiny_imagenet: dataset.train_from": "tests/datasets/test_tiny_imagenet.py::test_the_validation_images_alone",
    "tokens.scorer.checkpoint": "tests/tokens/test_scorers.py::test_zoomer_scores_are_the_checkpoints_and_stay_frozen",
    "tokens.scorer.scorer.checkpoint": "tests/tokens/test_scorers.py::test_inverted_and_uniform",
    "tokens.scorer.vit.run": NEEDS, "relevance.teacher.run": NEEDS, "relevance.folder": NEEDS,
    # of training images, which there are none of
    **{f"{test_set}: dataset.{name}": "tests/datasets/test_imagenet_a.py::test_a_model_is_tested_and_cannot_be_trained"
       for test_set in ("imagenet_a", "imagenet_r", "imagenet_real", "imagenet_sketch", "imagenet_v2")
       for name in ("batch_size", "drop_last", "augment", "train_scale", "flip", "sampler", "on_duplicate", "seed",
                    "fold", "folds", "erasing", "repeats")},
}  # fmt: skip
