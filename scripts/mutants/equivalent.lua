-- Generated mutants that cannot make a difference, and why: the key is file, function, kind and source text (and a
-- number where the same stands there more than once). They count neither as killed nor as alive. An entry that a run kills
-- after all, or that names what is not there any more, is reported.
local MEMORY = "only when memory grows, or how much; what is in it is the same"
local EQUAL = "for equal ones both ways give the same"
local SPEED = "a shortcut: the long way finds nothing to do"

return {
  -- ---- host ----
  ["host/apply.c make_room never: apply->held_at > apply->held_capacity / 2"] = MEMORY,
  ["host/apply.c make_room bound: apply->held_at > apply->held_capacity / 2"] = MEMORY,
  ["host/apply.c let_go never: apply->held_count == 0"] = MEMORY,
  ["host/apply.c answer_index never: host->waiters.lists[WAITER_PROPOSED].count == 0"] = SPEED,
  ["host/apply.c next_entry bound: apply->held_bytes < READ_AHEAD_BYTES / 2"] =
    "the next piece is asked for one entry sooner or later, at exactly that many bytes",
  ["host/apply.c apply_entry remove: entry->type >= RAFT_ENTRY_TYPES"] =
    "entry.c and wire decode no such type: a newer program's entry ends the node before; this guards the table",
  ["host/apply.c apply_entry bound: entry->type >= RAFT_ENTRY_TYPES"] =
    "entry.c and wire decode no such type: a newer program's entry ends the node before; this guards the table",
  ["host/bootstrap.c bootstrap_init never: host->identity.cluster == 0 && check_peers(host) != ERROR_OK"] =
    "bootstrap_begin gives up for the error that is noted; the hash is never said",
  ["host/bootstrap.c bootstrap_init remove: host->identity.cluster == 0"] =
    "a member's list, and what is wrong with it, is never looked at",
  ["host/bootstrap.c bootstrap_begin remove: bootstrap->error.code == ERROR_OK"] =
    "where something is wrong with the list, there is one: its count is not 0",
  ["host/bootstrap.c adopt remove: hello->configuration.size == 0"] =
    "the hash of nothing is no cluster's name: the next operand refuses it",
  ["host/forward.c remaining_ms bound: waiter->deadline_us > host->now_us"] = EQUAL,
  ["host/forward.c remaining_ms bound: left_ms > UINT32_MAX"] = EQUAL,
  ["host/forward.c remaining_ms bound: left_ms > 0"] =
    "who is due has been told earlier in the turn, by the same reading of the clock: some time is left",
  ["host/propose.c batch_refused bound: i < count"] =
    "a batch cannot be refused: role and limit were looked at in this turn, and no step came in between",
  ["host/status.c write_member bound: status->last_index > match"] = EQUAL,
  ["host/submit.c intake_copy bound: body.size > INTAKE_BYTES / 4"] = MEMORY,
  ["host/submit.c intake_copy bound: host->intake_used + body.size > INTAKE_BYTES"] = MEMORY,
  ["host/system.c encode_settings bound: strcmp(rows[i].name, next->name) < 0"] = "no two rows have one name",
  ["host/waiters.c before bound: a->wake_us < b->wake_us"] = "they differ here",
  ["host/waiters.c before bound: a->order < b->order"] = "no two waiters have one order; none meets itself",

  ["host/forward.c forward_or_park remove: !host_runs(host)"] =
    "who is blank or left alone knows no leader, or has answered everyone",
  ["host/forward.c forward_or_park remove: strcmp(leader->id.text, host->identity.id) == 0"] =
    "who is its own leader leads: what comes to it does not come here",

  -- ---- raft ----
  ["raft/append.c skip_known bound: entry->index <= raft->log.snapshot_index"] =
    "the entry at the snapshot's index has its term and its chain: it is known there too",
  ["raft/arena.c raft_arena_entries bound: arena->entry_capacity < count"] = MEMORY,
  ["raft/configuration.c half_index bound: half.count > VOTERS_ON_STACK"] = MEMORY,
  ["raft/configuration.c half_index bound: values[place - 1] < reached"] = EQUAL,
  ["raft/gate.c fill_entries bound: write->entry_capacity < write->entry_count"] = MEMORY,
  ["raft/gate.c drop_entries bound: write->entry_capacity <= ENTRIES_KEPT_MAX"] = MEMORY,
  ["raft/log.c raft_log_term_at bound: index < log->snapshot_index"] = "the snapshot's index is answered above",
  ["raft/log.c raft_log_slice bound: last - first + 1 < until_wrap"] = EQUAL,
  ["raft/log.c run_of bound: log->runs[high].first <= index"] = "a shortcut: the search finds the same run",
  ["raft/propose.c raft_append_own bound: entry->time_ms >= log->last_time_ms"] = EQUAL,
  ["raft/reads.c raft_advance_reads bound: reads->asked.count > 0"] = "where nothing is asked nothing is answered",
  ["raft/receive.c raft_receive bound: (size_t)message->type >= sizeof rows / sizeof *rows"] =
    "wire decodes no such type; this guards the table",
  ["raft/send.c send_append bound: count > 0"] = "chooses between two named mutants only",
  ["raft/vote.c up_to_date bound: request->last_term > last_term"] = "they differ here",
}
