"""Every row of BAD_INPUTS.md that concerns what is built, and the tests that make it happen.

`test_bad_inputs` checks that they are there. A row names its tests as `file::test`, without the
word `test_`.
"""

ROWS = {
    # Models
    "missing path": "bad_inputs::a_name_that_leads_nowhere",
    "a file for a folder": "bad_inputs::a_file_for_a_folder",
    "no config.json; invalid JSON; unknown model_type; remote code": (
        "bad_inputs::a_folder_that_is_no_model"
    ),
    "unknown repo or revision; gated": "bad_inputs::a_hub_that_refuses",
    "offline and not cached": "bad_inputs::a_name_that_leads_nowhere",
    "truncated, empty, garbage header; missing shard; pickle only; NaN or Inf": (
        "bad_inputs::a_folder_that_is_no_model"
    ),
    "other architecture": "bad_inputs::two_architectures",
    "other layers, hidden size, heads": "bad_inputs::a_folder_that_is_no_model",
    "other vocabulary, tokenizer; tied against untied": (
        "bad_inputs::other_vocabulary_tokenizer_and_tied_embeddings_warn_and_load",
        "loading::a_tied_student_and_an_untied_teacher_make_a_pair",
    ),
    "MoE or fused gate_up; quantised; encoder-only": "bad_inputs::a_folder_that_is_no_model",
    "the same model twice": "bad_inputs::the_same_model_twice",
    "no template": "bad_inputs::a_missing_template_warns_and_prompts_are_read_raw",
    "broken template": (
        "bad_inputs::a_broken_template_is_told_with_the_raw_mode_as_the_way_out"
    ),
    # Prompts
    "empty; blank; NUL; lone surrogate; longer than the context": (
        "bad_requests::a_typed_prompt_that_no_model_can_read",
        "bad_requests::a_prompt_by_raw_post_is_shown_as_text_or_refused_in_one_plain_line",
    ),
    "right-to-left": (
        "bad_requests::a_prompt_by_raw_post_is_shown_as_text_or_refused_in_one_plain_line",
        "cli::control_characters_never_reach_the_terminal",
    ),
    "file empty, header only, no prompt column, ragged, million rows, extension, binary": (
        "prompts::a_bad_file_is_told_in_one_line_within_a_second",
        "prompts::500_fuzzed_files_give_a_parse_or_a_named_error_within_a_second",
    ),
    "BOM, UTF-16, embedded newlines": (
        "prompts::byte_order_marks_utf16_and_embedded_newlines_are_no_trouble"
    ),
    "cells starting with = + - @": (
        "prompts::neutralised_cells_never_start_a_formula_and_plain_ones_stay"
    ),
    "duplicates": "prompts::blank_and_repeated_prompts_are_left_out_and_counted",
    # Numbers
    "max tokens 0 or huge; seed out of range; threshold outside 0..1; negative budget": (
        "bad_requests::a_number_or_name_out_of_range_costs_no_work",
        "cli::a_mistake_is_one_line",
        "sampling::a_setting_out_of_range_is_named_with_what_is_allowed",
        "sampling::a_seed_out_of_range_is_named",
        "driver::settings_out_of_range_are_named",
    ),
    "strength outside 0..1": (
        "ui::operations_that_make_no_sense_are_refused_in_one_line",
        "transplant::a_mask_that_the_pair_cannot_carry_is_named",
    ),
    "k larger than the units": "bad_requests::a_number_or_name_out_of_range_costs_no_work",
    "batch 0": "generation::a_batch_of_nobody_costs_nothing",
    # Search
    "the full transplant does not help": (
        "driver::a_full_mask_that_gains_nothing_is_refused_with_scores_and_what_to_try",
        "cli::nothing_to_localize_tells_both_scores_and_what_to_try",
    ),
    "the student already refuses": "driver::a_student_that_already_refuses_is_told_so",
    "a set on which the teacher refuses nothing": (
        "driver::a_teacher_whose_units_refuse_nothing_is_told_so"
    ),
    "stop twice": (
        "bad_requests::stopping_twice_pausing_after_it_and_stopping_what_ended_are_no_trouble"
    ),
    "resume a run whose weights, prompts or judge changed": (
        "bad_requests::a_run_whose_ground_changed_is_not_resumed_and_stays_as_it_was"
    ),
    "two processes on one run store": "store::two_processes_and_eight_threads_write_one_store",
    "an old store's schema": "store::another_schema_is_told_and_left_as_it_is",
    "disk full": "store::a_full_disk_is_told_and_what_was_committed_stays",
    "read-only folder": (
        "store::a_store_that_became_read_only_is_told",
        "store::a_folder_that_cannot_be_made_is_told",
    ),
    # Machine
    "CUDA asked for and absent": "bad_inputs::cuda_asked_for_and_absent",
    "out of memory at load": (
        "bad_inputs::more_than_the_memory_holds_is_refused_before_it_is_read",
        "bad_inputs::memory_that_runs_out_while_loading",
    ),
    "out of memory in search, in chat": (
        "bad_requests::memory_that_runs_out_in_search_chat_or_command_leaves_the_pair_usable"
    ),
    "killed at any moment": (
        "store::a_kill_loses_nothing_that_was_committed",
        "driver::a_search_that_is_killed_again_and_again_ends_as_if_nothing_had_happened",
        "bad_inputs::a_load_cancelled_at_any_moment_keeps_the_pair_and_can_be_repeated",
    ),
    "the port taken": "ui::a_taken_port_is_told_with_what_to_do",
    # People
    "script, form, image and markdown in prompts and replies": (
        "browser::text_of_prompts_is_shown_and_never_run",
        "bad_requests::a_prompt_by_raw_post_is_shown_as_text_or_refused_in_one_plain_line",
        "ui::model_and_prompt_text_cannot_become_markup",
    ),
    "path traversal in run names": "store::a_run_that_is_not_there_is_told_whatever_its_name",
    "path traversal in uploads": (
        "bad_requests::an_upload_that_names_a_file_of_the_machine_reads_nothing",
        "bad_requests::an_uploads_own_name_never_leaves_its_folder",
        "ui_server::no_file_of_the_machine_can_be_read",
    ),
    "50 MB upload": "ui_server::a_large_upload_is_refused",
    "a raw POST with missing, extra or wrong-typed values": (
        "ui_server::any_handler_answers_nonsense_with_a_plain_line"
    ),
    "16 browsers at once with different masks": (
        "ui_server::many_visitors_with_different_masks_do_not_cross"
    ),
    "a tab closed mid-search": "browser::a_search_goes_on_without_its_tab_and_is_found_again",
    "a foreign Origin": "bad_requests::another_sites_page_can_neither_read_nor_start_anything",
}  # fmt: skip
