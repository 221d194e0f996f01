"""Fields of TRL's and transformers' settings: which a setting of ours decides, which are refused and why.

A field of the installed TRL that stands nowhere here is new: `tests/trainers/test_trl_settings.py` fails for
the TRL that is locked, and with any other it is handed on with a line that says so.
"""

from __future__ import annotations

OURS = {
    "output_dir": "out",
    "resume_from_checkpoint": "out",
    "num_train_epochs": "epochs",
    "max_steps": "max_steps",
    "per_device_train_batch_size": "batch_size",
    "gradient_accumulation_steps": "gradient_accumulation_steps",
    "learning_rate": "learning_rate",
    "lr_scheduler_type": "lr_scheduler_type",
    "warmup_steps": "warmup_ratio",
    "warmup_ratio": "warmup_ratio",
    "weight_decay": "weight_decay",
    "max_grad_norm": "max_grad_norm",
    "bf16": "precision",
    "fp16": "precision",
    "gradient_checkpointing": "gradient_checkpointing",
    "gradient_checkpointing_kwargs": "gradient_checkpointing",
    "activation_checkpointing": "gradient_checkpointing",
    "activation_checkpointing_kwargs": "gradient_checkpointing",
    "deepspeed": "deepspeed",
    "save_strategy": "save_steps",
    "save_steps": "save_steps",
    "save_total_limit": "keep_checkpoints",
    "logging_strategy": "logging_steps",
    "logging_steps": "logging_steps",
    "disable_tqdm": "quiet",
    "report_to": "report_to",
    "use_cpu": "device",
    "no_cuda": "device",
    "use_mps_device": "device",
    "seed": "seed",
    "data_seed": "seed",
    "eval_strategy": "eval_steps",
    "eval_steps": "eval_steps",
    "metric_for_best_model": "validation.metric",
    "per_device_eval_batch_size": "validation.batch_size",
    "model_init_kwargs": "model.dtype and the other settings of the model",
    "packing": "packing",
    "num_generations": "num_rollouts",
    "num_iterations": "updates_per_rollout",
    "steps_per_generation": "minibatches",
    "generation_batch_size": "minibatches",
    "max_completion_length": "max_new_tokens",
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "beta": "beta",
    "use_bias_correction_kl": "correct_kl",
    "importance_sampling_level": "sequence_ratio",
    "epsilon": "clip",
    "epsilon_high": "clip_high",
    "scale_rewards": "scale_rewards",
    "reward_weights": "reward_weights",
    "mask_truncated_completions": "ignore_truncated",
    "use_vllm": "vllm",
    "vllm_mode": "vllm",
    "vllm_server_base_url": "vllm_host and --vllm_port",
    "vllm_server_host": "vllm_host",
    "vllm_server_port": "vllm_port",
}
"""Fields, and the flags of ours that decide them."""

_REFUSED = {
    "questions and their order are r1-aqa's, which makes a resumed training the same training": """
        remove_unused_columns dataloader_num_workers dataloader_persistent_workers
        dataloader_prefetch_factor dataloader_multiprocessing_context dataloader_in_order
        dataloader_drop_last accelerator_config group_by_length train_sampling_strategy length_column_name
        ignore_data_skip auto_find_batch_size dataset_text_field dataset_kwargs dataset_num_proc
        max_length truncation_mode include_inputs_for_metrics
    """,
    "prompts are laid out and read by r1-aqa, which would not look at it": """
        chat_template_kwargs chat_template_path eos_token pad_token padding_free packing_strategy
        eval_packing max_tool_calling_iterations log_multimodal neftune_noise_alpha
    """,
    "rollouts are sampled by r1-aqa, which would not look at it": """
        use_transformers_continuous_batching transformers_continuous_batching_config
        use_transformers_paged cache_implementation use_cache ds3_gather_for_generation
        num_generations_eval
    """,
    "log-probabilities and losses on sound are computed by r1-aqa, which would not look at it": """
        use_liger_kernel liger_kernel_config cast_lm_head_to_fp32 router_aux_loss_coef
        label_smoothing_factor completion_only_loss assistant_only_loss activation_offloading
    """,
    "a policy in training mode and the one that sampled would be two networks": """
        disable_dropout
    """,
    "training stops at what is not finite": """
        logging_nan_inf_filter
    """,
    "validation is r1-aqa's (--eval_steps, --validation.metric)": """
        do_train do_eval do_predict eval_delay eval_on_start eval_accumulation_steps
        eval_do_concat_batches eval_use_gather_object batch_eval_metrics include_for_metrics
        prediction_loss_only label_names bf16_full_eval fp16_full_eval load_best_model_at_end
        greater_is_better
    """,
    "a checkpoint must be whole to go on from": """
        save_only_model enable_jit_checkpoint restore_callback_states_from_checkpoint save_safetensors
        overwrite_output_dir
    """,
    "nothing is uploaded": """
        push_to_hub push_to_hub_model_id push_to_hub_organization push_to_hub_token hub_token hub_model_id
        hub_private_repo hub_strategy hub_always_push hub_revision log_completions_hub_repo
    """,
    "code that comes with a model is not run": """
        trust_remote_code
    """,
    "start with `accelerate launch --config_file` and one of recipes/accelerate": """
        fsdp fsdp_config fsdp_min_num_params fsdp_transformer_layer_cls_to_wrap parallelism_config
        local_rank
    """,
    "transformers has given it up": """
        adafactor fp16_backend fp16_opt_level half_precision_backend jit_mode_eval mp_parameters
        past_index per_gpu_train_batch_size per_gpu_eval_batch_size ray_scope torchdynamo
        tpu_metrics_debug tpu_num_cores use_legacy_prediction_loop include_tokens_per_second
        include_num_input_tokens_seen _n_gpu vllm_importance_sampling_cap
    """,
}

REFUSED = {name: why for why, names in _REFUSED.items() for name in names.split()}
"""Fields that would have no effect on questions about sound, or break what this package promises; and why."""

SFT_REFUSED = {
    "loss_type": "the loss of fine-tuning is the cross entropy of the answers",
    "shuffle_dataset": "the order of questions is drawn from --seed",
    "pad_to_multiple_of": "batches are padded by r1-aqa, which would not look at it",
}
"""Fields that are handed on to GRPO, and would have no effect on fine-tuning."""

_PASSED = """
    adam_beta1 adam_beta2 adam_epsilon optim optim_args optim_target_modules lr_scheduler_kwargs
    average_tokens_across_devices tf32 full_determinism torch_compile torch_compile_backend
    torch_compile_mode torch_empty_cache_steps skip_memory_metrics debug dataloader_pin_memory
    ddp_find_unused_parameters ddp_bucket_cap_mb ddp_broadcast_buffers ddp_static_graph ddp_backend
    ddp_timeout logging_first_step logging_dir log_level log_level_replica log_on_each_node run_name
    project trackio_space_id trackio_bucket_id trackio_static_space_id save_on_each_node
    pad_to_multiple_of shuffle_dataset min_p repetition_penalty generation_kwargs delta
    sapo_temperature_neg sapo_temperature_pos vespo_k_pos vespo_lambda_pos vespo_k_neg vespo_lambda_neg
    multi_objective_aggregation sync_ref_model ref_model_mixup_alpha ref_model_sync_steps
    top_entropy_quantile off_policy_mask_threshold log_completions num_completions_to_print
    log_unique_prompts vllm_model_impl vllm_enable_sleep_mode vllm_structured_outputs_regex
    vllm_server_timeout vllm_group_port vllm_gpu_memory_utilization vllm_max_model_length
    vllm_tensor_parallel_size vllm_importance_sampling_correction vllm_importance_sampling_mode
    vllm_importance_sampling_clip_max vllm_importance_sampling_clip_min entropy_coef use_adaptive_entropy
    entropy_coef_min entropy_coef_max entropy_coef_delta entropy_target
"""

PASSED = frozenset(_PASSED.split())
"""Fields that are handed on: they reach TRL's trainer, its optimizer or its log."""
