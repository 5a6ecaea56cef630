"""Every event name of the logs with its meaning, in one place; metrics stand in `metrics.py`.

A test compares it with the calls in the code, and `make docs` writes it into docs/operations.md.
The level of a line says who should care: error, someone must act; warning, retried or rejected;
info, life cycle and one line per batch.
"""

from collections.abc import Mapping

_CONSUMING = {
    "advisory_commit_failed": "Kafka was not told the offsets; progress is in PostgreSQL",
    "assigned": "Kafka gave this member partitions",
    "batch_broke": "An error that nobody foresaw in a batch; it is halved until one is alone",
    "batch_refused": "PostgreSQL refused something in a batch; it is halved until one is alone",
    "claim_failed": "Partitions, or due webhooks, could not be claimed; tried again",
    "claimed": "Partitions are ours in the progress table too, and are worked on",
    "claimed_after_crash": "A partition did not move before a death; its records go one by one",
    "consumer_stop_failed": "Kafka's client did not close cleanly at the end",
    "drain_timed_out": "Batches did not end within `CONSUMER_DRAIN_TIMEOUT_S`; they are done again",
    "fetch_failed": "Nothing could be fetched, the broker is away; tried again",
    "fetch_garbled": "The client cannot unpack what it fetched; records are read one by one",
    "heartbeat_postponed": "PostgreSQL is away; what this process says of itself is not written",
    "join_failed": "The group could not be joined; tried again",
    "lag_unknown": "The ends of the logs could not be asked for; lag and stalls are not seen",
    "last_commit_failed": "Kafka was not told the last offsets; progress is in PostgreSQL",
    "metrics_not_served": "The port for `/metrics` cannot be had; tried again, the work goes on",
    "metrics_served": "`/metrics` is served after all",
    "offset_gap": "Offsets without a record for us were passed (transactions, compaction)",
    "partition_halted": "A partition stands still until someone acts; the remedy is in the line",
    "predecessor_evicted": "The last life of this instance was taken out of the group",
    "probe_failed": "Records could not be read one by one, the broker is away; tried again",
    "record_broke": "A record met an error that nobody foresaw; it alone fails; please report it",
    "record_unreadable": "The client cannot unpack a record; its offset is set aside",
    "record_set_aside": "A record became a dead letter; the line has its place and the reason",
    "recovering": "All work in flight is dropped and partitions are claimed anew",
    "release_failed": "Partitions were not given back at the end; the next owner waits a little",
    "stalled": "A partition with lag did not move; the process ends",
    "transaction_failed": "A batch's transaction failed; it is done again",
    "transaction_open": "A producer's transaction is open for long; what lies behind it waits",
    "waiting": "Something outside is away; the same batch is tried again",
}
_OUTBOX = {
    "broker_away": "Events could not be published at once; the sweeper does it",
    "outbox_delete_failed": "Published rows could not be deleted; they are published again",
    "outbox_row_quarantined": "Kafka refuses an event for good; the row stays, marked",
    "outbox_swept": "Rows that nobody had published were published",
    "producer_replaced": "A Kafka producer that could send no more was replaced",
    "producer_stop_failed": "A Kafka producer did not close cleanly",
    "publishing_left_to_the_sweeper": "Events were still leaving at the end; the sweeper does it",
    "sweep_failed": "The outbox could not be swept; tried again",
}
_TAGGING = {
    "decoder_unsealed": "This system lacks a lock of the decoders, named with the reason",
    "images_parked": "Slow images of a batch were set aside: the batch went on without them",
    "parked_image_dealt_with": "A parked image was tagged, or failed for the reason in the line",
    "parked_image_overtaken": "A parked image was deleted or sent again while it was worked on",
    "parked_image_broke": "A parked image met an error that nobody foresaw; it alone fails",
    "parked_image_postponed": "Something is away; the parked image is taken again later",
    "slow_lane_postponed": "PostgreSQL is away; parked images are looked for again",
    "engine_chosen": "The engine that runs the model, and why",
    "engine_judged": "How near the quantised model comes to the exact one",
    "engine_quantising": "The quantised model is made; it is kept for the next start",
    "engine_refused": "The engine wished for cannot be used, and why; another one is",
    "labels_previewed": "A preview of other labels was made",
    "model_moved_to_cpu": "The accelerator's memory did not suffice; the model runs on the CPU",
    "model_ready": "The model is loaded",
    "preview_failed": "A preview of labels was given up after several attempts",
    "preview_postponed": "A preview of labels could not be made now; tried again",
    "rescoring_finished": "All images have tags of the labels in force",
    "rescoring_postponed": "Images could not be scored again now; tried again",
}
_ASKING = {
    "label_without_other_language": "A label has no alias in Russian or in English",
    "labels_without_other_language": "So many labels have no alias in Russian or in English",
    "query_answered": "A query has its answer; its webhook follows",
}
_DELIVERING = {
    "delivery_internal_error": "A bug met one webhook, which is charged an attempt; report it",
    "delivery_own_fault": "A webhook could not be tried for a reason of ours; tried again",
    "expire_failed": "Leases that ran out could not be given back; tried again",
    "leases_lost": "Outcomes came after their lease; another worker has these webhooks",
    "outcome_refused": "PostgreSQL refuses an attempt's outcome; its words are left out, then it",
    "outcomes_not_recorded": "Outcomes could not be written; tried again while their leases last",
    "outcomes_refused": "PostgreSQL refuses one of several outcomes; they are written one by one",
    "retries_not_brought_forward": "PostgreSQL is away; retries wait on for a target that is back",
    "target_breaker_opened": "A callback target fails; it is left alone for a while",
    "target_disabled": "A callback target is not tried until an operator resumes it",
    "target_not_disabled": "A target could not be disabled as it should; tried at its next failure",
    "target_recovered": "A callback target answers again; retries that waited for it are due",
    "webhook_attempted": "An attempt at a webhook, and how it ended",
    "webhooks_given_up_after_deaths": "Webhooks that ended their workers, or seem so; now dead",
}
_UPKEEP = {
    "combo_rebuild_finished": "The table of best images is whole; queries use it",
    "combo_rebuild_started": "The table of best images is filled; queries ask the images meanwhile",
    "combo_repair_postponed": "The table of best images could not be repaired now; tried again",
    "prune_failed": "PostgreSQL refuses to prune a table; tried again in ten minutes",
    "prune_postponed": "A table could not be pruned now; tried again in ten minutes",
    "pruned": "Rows beyond their retention were deleted, by table",
    "upkeep_refused": "PostgreSQL refuses a piece of upkeep; tried again in a minute",
    "upkeep_postponed": "PostgreSQL is away; the piece of upkeep is tried again",
}
_SERVING = {
    "events_postponed": "Those who listen are told nothing: PostgreSQL is away; tried again",
    "page_unavailable": "`/` says what is missing: lit-html was not fetched, or is another file",
    "links_disabled": "`SECRETS_KEY` is not set: there are no signed links",
    "part_away": "A request got 503 because something outside is away",
    "request_failed": "A request got 500: a bug; the line has the stack",
    "serving": "The HTTP face takes requests",
    "stopped": "The HTTP face ended as asked",
}
_PRODUCING = {
    "file_quarantined": "A watched file is hopeless and is left alone until it changes",
    "files_announced": "Files of a watched folder were announced",
    "files_missing": "Watched files are gone; their images are no answers any more",
    "files_not_found": "Watched files are not there, but their disk may not be either; they stay",
    "job_failed": "A directory job cannot go on, and why",
    "job_finished": "A directory job is done",
    "job_lost": "A directory job was cancelled or taken over",
    "job_postponed": "Something is away; the job waits for the next look",
    "job_released": "A directory job was given back unfinished, for another process",
    "job_started": "A directory job was taken",
    "ledger_retried": "Announced files could not be written into the ledger; tried again",
    "publish_retried": "Events could not be published; tried again",
    "watch_broken": "The watcher ended; the folder is looked through instead, and it is set anew",
    "watch_postponed": "Something is away; the step is done again by a scan",
    "watch_scanned": "A watched folder was looked through",
    "watched_directory_not_found": "A watched directory is not there",
}

EVENTS: Mapping[str, str] = {
    **_CONSUMING,
    **_OUTBOX,
    **_TAGGING,
    **_ASKING,
    **_DELIVERING,
    **_UPKEEP,
    **_SERVING,
    **_PRODUCING,
}
