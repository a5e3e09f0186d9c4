-- Generated mutants that cannot make a difference, and why: the key is file, function, kind and source text (and a
-- number where the same stands there more than once). They count neither as killed nor as alive. An entry that a run
-- kills after all, or that names what is not there any more, is reported.
local MEMORY = "only when memory grows, or how much; what is in it is the same"
local EQUAL = "for equal ones both ways give the same"
local ROOM = "role and room were looked at in this turn: what refuses now is a leader that hands over"
local AGAIN = "what was not read as it stands is not written so either: the bytes differ, and are refused"
local MOMENT = "the order of those of one time among each other changes nothing"
local LOG_ONLY = "only what is said in the log depends on it"
local AFRESH = "what a server thinks of its peers begins afresh when it campaigns or leads"
local CALLERS = "every caller has looked: this holds for whoever calls next"
local SPARE = "the array has a place for the server itself, which is not in it: no voter, and sent nothing"
local HANDED = "no change is taken meanwhile, and what ends a joint configuration keeps its voters"
local MADE = "whoever asks has it decoded, or built by configuration.c: both refuse such; this guards raft.h"
local SPEED = "a shortcut: the long way finds nothing to do"

return {
  -- ---- host ----
  ["host/admin.c admin_turn remove: host_runs(host)"] =
    "who stops has answered everyone by the time its core is left alone, and none of these steps ends a node",
  ["host/admin.c admin_turn remove: host->role == RAFT_LEADER"] = "only a leader's status has peers, who may catch up",
  ["host/admin.c carry_out remove: mp_read_array(&reader, &count)"] = "what is no list has no two elements",
  ["host/admin.c promote_one never: host->learner_count == 0"] = SPEED,
  ["host/admin.c has_caught_up bound: i < host->status.peer_count"] =
    "behind the last peer is nobody, or one who was a peer once: the core judges by itself who has caught up",
  ["host/admin.c read_address remove: raft_address_split(out, host, &port)"] =
    "where there is no address no port is read",
  ["host/apply.c make_room never: apply->held_at > apply->held_capacity / 2"] = MEMORY,
  ["host/apply.c let_go never: apply->held_count == 0"] = MEMORY,
  ["host/apply.c answer_index never: host->waiters.lists[WAITER_PROPOSED].count == 0"] = SPEED,
  ["host/apply.c next_entry bound: apply->held_bytes < READ_AHEAD_BYTES / 2"] =
    "the next piece is asked for one entry sooner or later, at exactly that many bytes",
  ["host/apply.c apply_new remove: entry->type >= RAFT_ENTRY_TYPES"] =
    "entry.c and wire decode no such type: a newer program's entry ends the node before; this guards the table",
  ["host/apply.c apply_new bound: entry->type >= RAFT_ENTRY_TYPES"] =
    "entry.c and wire decode no such type: a newer program's entry ends the node before; this guards the table",
  ["host/backup.c named remove: mp_read_array(&reader, &count)"] = "what is no list has no two elements",
  ["host/backup.c named remove: mp_read_string(&reader, &name)"] = "what is no text is the name of no action",
  ["host/bootstrap.c bootstrap_init never: count == 0"] =
    "bootstrap_begin refuses an empty list in its own words; a member's is never looked at",
  ["host/bootstrap.c follow_leader remove: !raft_address_split(address, name, &port)"] =
    "where there is no address no port is read",
  ["host/forward.c remaining_ms bound: waiter->deadline_us > host->now_us"] = EQUAL,
  ["host/forward.c remaining_ms bound: left_ms > 0"] =
    "who is due has been told earlier in the turn, by the same reading of the clock: some time is left",
  ["host/members.c members_set negate: server->role == RAFT_LEARNER"] = SPEED,
  ["host/members.c members_remember bound: i <= durable->configuration_count"] =
    "the last one is the effective one, in which it looks for itself when the core starts",
  ["host/members.c members_remember never: raft_configuration_decode(bytes, &configuration, NULL) != ERROR_OK"] =
    "what cannot be read names nobody, and the core does not start with it",
  ["host/members.c members_leave remove: host_runs(host)"] =
    "who is blank was no member; who stops or has given up is not to be told to stop",
  ["host/restore_log.c read_payload never: !mp_read_array(&reader, &count) || !mp_read_string(&reader, &name)"] =
    "what is no list, or begins with no text, has no step's name",
  ["host/restore_log.c read_payload remove: !mp_read_array(&reader, &count)"] = "what is no list has no two elements",
  ["host/restore_log.c read_payload remove: !mp_read_string(&reader, &name)"] = "what is no text is no step's name",
  ["host/restore_log.c apply_chunk bound: had < bytes.size"] = EQUAL,
  ["host/restore_log.c feed remove: code == ERROR_OK (3)"] = "a tree that has failed is not whole",
  ["host/restore_log.c restore_drop never: staged->id == 0"] =
    "stage_end is harmless where nothing is staged (machine.h), and there is nothing else to free",
  ["host/skip.c note never: !read_payload(entry->payload.bytes, &skip.index)"] =
    "it would be noted as one of index 0, which no entry has",
  ["host/skip.c skip_passed remove: skips->deadly == 0"] =
    "nothing is being applied: that it is over is said once more",
  ["host/skip.c read_payload remove: mp_map_get(payload, \"index\", &value)"] =
    "what is not there is empty, and no number",
  ["host/snapshot.c snapshot_note bound: snapshots->bytes - newest->bytes <= " ..
    "host->settings.trailing_bytes / TRAIL_MARKS"] =
    "about so many bytes: a mark an entry sooner or later",
  ["host/snapshot.c keep_from bound: snapshots->bytes - mark->bytes >= host->settings.trailing_bytes"] =
    "about so many bytes: a mark more or less",
  ["host/snapshot.c keep_from bound: mark->index > 0"] = "a mark that is not there keeps from 1 on, as 0 does",
  ["host/snapshot.c write_slice bound: snapshots->piece.size >= PIECE_BYTES"] =
    "a piece of exactly that size, or one slice longer",
  ["host/system.c find_named bound: name.size < sizeof text"] = "no setting has a name of that length",
  ["host/status.c write_member bound: status->last_index > match"] = EQUAL,
  ["host/submit.c intake_copy bound: body.size > INTAKE_BYTES / 4"] = MEMORY,
  ["host/submit.c intake_copy bound: host->intake_used + body.size > INTAKE_BYTES"] = MEMORY,
  ["host/system.c settings_payload_encode bound: strcmp(rows[i].name, next->name) < 0"] = "no two rows have one name",
  ["host/waiters.c before bound: a->wake_us < b->wake_us"] = "they differ here",
  ["host/waiters.c before bound: a->order < b->order"] = "no two waiters have one order; none meets itself",

  ["host/forward.c forward_or_park remove: !host_runs(host)"] =
    "who is blank or left alone knows no leader, or has answered everyone",
  ["host/forward.c forward_or_park remove: strcmp(leader->id.text, host->identity.id) == 0"] =
    "who is its own leader leads: what comes to it does not come here",

  ["host/host.c host_turn remove: !host->dead"] = "one turn more, which a dead host ends at once",
  ["host/host.c host_receive remove: strcmp(message->to.text, host->identity.id) == 0"] = "the core asks the same",
  ["host/host.c host_peer_lost remove: member_find(host, id->text) != NULL"] = "the core looks for the peer itself",
  ["host/host.c host_fatal never: host->dead"] = "doors are closed and loops end then: nobody comes here twice",
  ["host/host.c update_ready remove: host_runs(host)"] =
    "host_ready asks whether it stops or is dead; a blank one has no leader",
  ["host/host.c update_ready remove: host->stop.stage == STOP_NONE"] = "host_ready asks the same",
  ["host/host.c update_ready remove: able"] = "until it is able, what was noted is noted anew each time",
  ["host/policy.c policy_read_action remove: mp_read_array(reader, &two)"] = "what is no list has no two elements",
  ["host/policy_view.c policy_peer bound: i < host->status.peer_count"] =
    "the place behind the last peer bears the id of nobody who is looked for: all of them but the leader are peers",
  ["host/policy_view.c write_server bound: last > match"] = EQUAL,
  ["host/propose.c propose_turn remove: host_runs(host)"] = "a proposal cannot end the node",
  ["host/propose.c propose_commands never: host->dead"] = "a proposal cannot end the node",
  ["host/reads.c round_find remove: round != NULL"] = "every context that the core answers is in a round",
  ["host/reads.c round_new never: round != NULL"] = MEMORY,
  ["host/reads.c run_query never: !host->apply.app_loaded"] =
    "both ways here pass one who asks whether the app is loaded",
  ["host/status.c write_member remove: now_us >= peer->contact_us"] = "the clock does not go back (host.h)",
  ["host/stop.c answer_the_rest remove: (state == WAITER_PROPOSED || state == WAITER_FORWARDED || " ..
    "state == WAITER_TRANSFER)"] =
    "everyone else was refused as the stop began",
  ["host/submit.c answer_error remove: message == NULL"] = "nobody gives a text of its own with a script's error",
  ["host/submit.c intake_copy never: body.size == 0"] = MEMORY,
  ["host/system.c app_string never: app == NULL"] = "nobody asks before there is one",
  ["host/system.c init_payload_decode remove: !mp_map_get(bytes, \"settings\", &settings)"] =
    "what is not there is empty, and no map",
  ["host/system.c init_payload_decode remove: !mp_map_get(bytes, \"bundle\", &bundle)"] =
    "what is not there is empty, and no string",
  ["host/system.c init_payload_decode remove: !mp_map_get(bytes, \"format_level\", &level)"] =
    "what is not there is empty, and no number",
  ["host/turnstile.c on_role negate: host->role == RAFT_LEADER"] = LOG_ONLY,
  ["host/waiters.c heap_up remove: before(waiter, waiters->heap[(place - 1) / 2])"] =
    "whoever is added or moved sinks to its place right after",
  ["host/turnstile.c on_role negate: !raft_id_equal(&host->leader, &effect->role.leader) || " ..
    "host->term != effect->role.term"] = LOG_ONLY,
  ["host/turnstile.c carry_out remove: !host->dead"] = "no effect ends the node while it is carried out",
  ["host/turnstile.c on_role remove: !raft_id_equal(&host->leader, &effect->role.leader)"] = LOG_ONLY,
  ["host/turnstile.c on_role remove: host->term != effect->role.term"] = LOG_ONLY,
  ["host/waiters.c waiter_index_add never: index->count == index->slot_count"] = "chains grow instead of the table",
  ["host/waiters.c waiter_index_find remove: fits"] =
    "a log index and a forward ticket, which begins at random in 64 bits, would have to be one number",

  ["host/propose.c propose_turn never: !host_runs(host)"] =
    "who does not run leads nobody, or has refused all commands",
  ["host/propose.c gather never: used > limit && host->status.uncommitted_bytes > 0"] =
    "the core refuses it then, and the answer is the same",
  ["host/submit.c intake_copy invert: host->intake_used + body.size > INTAKE_BYTES"] = MEMORY,
  ["host/turnstile.c on_role invert: !raft_id_equal(&host->leader, &effect->role.leader)"] = LOG_ONLY,
  ["host/turnstile.c on_role invert: host->term != effect->role.term"] = LOG_ONLY,
  ["host/waiters.c heap_remove never: last == waiter"] = "the last one is not before its parent, and has no children",

  ["host/contacts.c contact_heard never: host->contact_count == 0"] = SPEED,
  ["host/host.c arm_timer remove: !raft_id_none(&host->bootstrap.door)"] =
    "until a member is known that can be asked, there is no time to ask at",
  ["host/host.c arm_timer remove: !host->wiped (2)"] = "one that is to join is never said to be wiped",
  ["host/propose.c batch_accepted never: !waiter_is_deduplicated(waiter)"] = MEMORY,
  ["host/propose.c batch_refused remove: code == ERROR_NOT_LEADER"] = ROOM,
  ["host/propose.c batch_refused invert: code == ERROR_NOT_LEADER"] = ROOM,
  ["host/propose.c refuse remove: code == ERROR_DISK_FULL"] = "a leader with a full disk leads no more",
  ["host/propose.c refuse invert: code == ERROR_DISK_FULL"] = "a leader with a full disk leads no more",
  ["host/propose.c refuse remove: passes"] = "a leader with a full disk leads no more: it is want of room",
  ["host/propose.c refuse remove: may_ask_again(host, waiter)"] =
    "who may not be asked again was parked earlier in this turn",
  ["host/reads.c ask never: !host_runs(host)"] =
    "queries gather with one who runs; one that stops has told them",
  ["host/sessions.c sessions_advance bound: clock_ms > sessions->clock_ms"] = EQUAL,
  ["host/sessions.c admit_in_session never: sessions->bytes < settings->session_bytes_max"] =
    "a shortcut: what would be let go of makes it no less true",
  ["host/sessions.c admit_in_session bound: highest > window"] = "nothing is kept up to 0",
  ["host/sessions.c keep_in_session bound: session->highest > settings->session_window"] = "nothing is kept up to 0",
  ["host/sessions.c renew_session bound: acknowledged > session->floor"] = EQUAL,
  ["host/sessions.c touch never: session->active_ms == sessions->clock_ms"] = MOMENT,
  ["host/sessions.c raise_floor bound: floor <= session->floor"] = "nothing is kept up to the floor",
  ["host/sessions_bytes.c take_root remove: state_is_object(root)"] = "its version was found in it: it is a map",
  ["host/sessions_bytes.c take_root remove: state_count(root) == 5"] = AGAIN,
  ["host/sessions_bytes.c take_root remove: map"] = AGAIN,
  ["host/sessions_bytes.c take_root remove: take_integer(tree, \"age_ms\", &sessions->age_ms)"] = AGAIN,
  ["host/sessions_bytes.c take_root remove: take_integer(tree, \"clock_ms\", &sessions->clock_ms)"] = AGAIN,
  ["host/sessions_bytes.c take_root remove: take_integer(tree, \"version\", &version)"] =
    "its version was read before",
  ["host/sessions_bytes.c take_root remove: numbers"] = AGAIN,
  ["host/sessions_bytes.c take_integer never: found.type != STATE_INTEGER"] = AGAIN,
  ["host/sessions_bytes.c read_session remove: reply.type != STATE_STRING"] = "what is no string has no bytes here",
  ["host/sessions_bytes.c take_keys remove: key.is_string"] = "what is no string has no bytes here",
  ["host/sessions_bytes.c take_keys remove: value.type == STATE_STRING"] = "what is no string has no bytes here",
  ["host/sessions_bytes.c take_keys remove: valid"] = "the loop is left as soon as it is not",
  ["host/sessions_bytes.c by_time bound: first->time_ms < second->time_ms"] = "they differ here",
  ["host/sessions_bytes.c by_time negate: first->id < second->id"] = MOMENT,
  ["host/sessions_bytes.c by_time bound: first->id < second->id"] = MOMENT,
  ["host/sessions_bytes.c by_time negate: first->id > second->id"] = MOMENT,
  ["host/sessions_bytes.c by_time bound: first->id > second->id"] = MOMENT,
  ["host/submit.c route remove: waiter->kind == REQUEST_ADMIN"] =
    "who has forwarded it looks at the code, and knows the leader's address",
  ["host/submit.c route remove: host_runs(host)"] = "who is blank knows no leader, and who stops has refused it above",

  ["host/settings.c read_arguments remove: mp_read_array(&reader, &count)"] = "what is no list has no two elements",
  ["host/settings.c read_arguments remove: mp_read_string(&reader, &name)"] = "what is no string has no bytes here",
  ["host/settings.c read_change remove: map"] =
    "behind a name that cannot be read nothing is added, and the answer is the same",
  ["host/settings.c add_pair bound: name.size < sizeof key"] = "either way it is cut to what fits",
  ["host/settings.c host_config bound: strcmp(rows[i].name, next->name) < 0"] = "no two rows have one name",
  ["host/stats.c contact_ms bound: now_us > host->heard_us"] = EQUAL,
  ["host/watch.c watch_completed bound: took_us > watch->disk.longest_us"] = EQUAL,
  ["host/watch.c watch_peers remove: host->role != RAFT_LEADER"] = "only a leader's status has peers",
  ["host/watch.c host_load bound: now_us > disk_us"] = EQUAL,
  ["host/watch.c host_load bound: now_us > none_us"] = EQUAL,

  -- ---- raft ----
  ["raft/arena.c raft_arena_entries bound: arena->entry_capacity < count"] = MEMORY,
  ["raft/configuration.c half_index bound: half.count > VOTERS_ON_STACK"] = MEMORY,
  ["raft/configuration.c half_index bound: values[place - 1] < reached"] = EQUAL,
  ["raft/gate.c fill_entries bound: write->entry_capacity < write->entry_count"] = MEMORY,
  ["raft/gate.c drop_entries negate: write->entry_capacity <= ENTRIES_KEPT_MAX"] = MEMORY,
  ["raft/gate.c drop_entries bound: write->entry_capacity <= ENTRIES_KEPT_MAX"] = MEMORY,
  ["raft/log.c raft_log_slice bound: last - first + 1 < until_wrap"] = EQUAL,
  ["raft/propose.c raft_append_own bound: entry->time_ms >= log->last_time_ms"] = EQUAL,
  ["raft/reads.c raft_advance_reads bound: reads->asked.count > 0"] = "where nothing is asked nothing is answered",
  ["raft/receive.c raft_receive bound: (size_t)message->type >= sizeof rows / sizeof *rows"] =
    "wire decodes no such type; this guards the table",
  ["raft/send.c send_append bound: count > 0"] = "chooses between two named mutants only",
  ["raft/vote.c up_to_date bound: request->last_term > last_term"] = "they differ here",
  ["raft/append.c skip_known remove: !committed"] = "a conflict with what is committed has ended it above",
  ["raft/commit.c raft_advance_commit never: raft->role != RAFT_LEADER"] = CALLERS,
  ["raft/election.c has_granted remove: peer"] = "every voter but oneself is a peer",
  ["raft/gate.c behind remove: given->last > given->index"] =
    "a truncation is always followed by an append, which the operand before it sees",
  ["raft/log.c raft_log_trim remove: log->tail_count > 0"] = "an empty tail weighs nothing",
  ["raft/log.c raft_log_keep_payload remove: payload->blob"] = "a copy is as good as a reference",
  ["raft/log.c raft_log_keep_payload remove: payload->bytes.size == 0"] = MEMORY,
  ["raft/log.c decode_configuration never: code == ERROR_OK"] = "what follows answers the same code",
  ["raft/raft.c on_persisted remove: !raft->gate.refused"] =
    "it campaigns only once the gate is open, and then the timeout begins anew",
  ["raft/raft.c on_persisted remove: raft->role == RAFT_CANDIDATE"] =
    "the votes of anyone else are counted for nothing",
  ["raft/raft.c on_persisted remove: !raft->own_vote"] = "counting again finds the same",
  ["raft/raft.c on_persist_refused remove: !leads_on"] = "it is for a named mutant",
  ["raft/reads.c raft_advance_reads remove: reads->asked.count > 0"] = "where nothing is asked nothing is answered",
  ["raft/reads.c raft_advance_reads never: raft->role != RAFT_LEADER"] = CALLERS,
  ["raft/receive.c raft_receive remove: (size_t)message->type >= sizeof rows / sizeof *rows"] =
    "wire decodes no such type; this guards the table",
  ["raft/receive.c raft_receive remove: !rows[message->type].handle"] =
    "wire decodes no such type; this guards the table",
  ["raft/receive.c raft_receive never: (size_t)message->type >= sizeof rows / sizeof *rows || " ..
    "!rows[message->type].handle"] =
    "wire decodes no such type; this guards the table",
  ["raft/receive.c raises remove: message->vote.pre"] =
    "a granted vote is for a term one has asked in, which was durable: it is not higher than one's own",
  ["raft/result.c refused remove: !probing"] = "what is answered was sent: its prev_index is below next",
  ["raft/result.c raft_receive_append_result never: raft->role != RAFT_LEADER"] = AFRESH,
  ["raft/send.c raft_unreachable remove: raft->role != RAFT_LEADER"] = AFRESH,
  ["raft/configuration.c raft_configuration_copy never: to == from"] = CALLERS,
  ["raft/configuration_bytes.c read_configuration never: !mp_read_map(reader, &count)"] =
    "its version was found in it: it is a map",
  ["raft/configuration_bytes.c read_configuration never: !mp_skip(reader, NULL)"] = "its version was read before",
  ["raft/configuration_bytes.c read_addresses remove: mp_read_array(reader, &fields)"] =
    "what is no list has no three fields",
  ["raft/configuration_bytes.c read_id remove: !mp_read_string(reader, &text)"] = "no string is no id, as an empty one",
  ["raft/configuration_bytes.c read_text remove: text.size"] = "of no bytes none is zero",
  ["raft/send.c send_append negate: count > 0"] = "chooses between two named mutants only",
  ["raft/send.c reader_of remove: token == 0"] = "a read has a token: they count from 1",
  ["host/status.c find_peer bound: i < status->peer_count"] = "the place behind the last peer bears no server's id",
  ["raft/election.c raft_ask_for_votes bound: i < raft->peers.count"] = SPARE,
  ["raft/peers.c raft_peers_reset bound: i < peers->count"] = SPARE,
  ["raft/role.c begin_campaign bound: i < raft->peers.count"] = SPARE,
  ["raft/send.c raft_speak_to_all bound: i < raft->peers.count"] = SPARE,
  ["raft/send.c reader_of bound: i < raft->peers.count"] = SPARE,
  ["raft/append.c raft_ack_durable bound: following->verified > raft->gate.durable.index"] =
    "what becomes durable next has been appended since, and an answer is due for that",
  ["raft/append.c skip_known never: entry->index > raft->log.last_index"] =
    "no term is known there: it differs, and is not committed",
  ["raft/configuration.c raft_address_split never: !colon"] = "a host that ends at nothing is empty",
  ["raft/gate.c drop_entries never: write->entry_capacity <= ENTRIES_KEPT_MAX"] = MEMORY,
  ["raft/log.c raft_log_trim bound: log->tail_count > 0"] = "an empty tail weighs nothing",
  ["raft/raft.c check never: i < raft->peers.count"] = "it is there for assertions",
  ["raft/send.c sendable never: peer->progress == RAFT_PROBE"] = "a probe has nothing in flight: its window is open",
  ["raft/send.c sendable remove: peer->flight_count == 0"] = "nothing in flight weighs nothing",
  ["raft/timer.c lead never: raft->peers.count == 0"] = "alone it is its own quorum, and there is nobody to speak to",
  ["raft/timer.c lead remove: raft->commit_push_us != 0"] = "whoever is replicated to was told by then",
  ["raft/timer.c follow remove: raft->role != RAFT_FOLLOWER"] =
    "the gate drops what a follower asks, as of a campaign that is over",
  ["raft/timer.c push_commit bound: i < raft->peers.count"] = SPARE,
  ["raft/append.c skip_known bound: entry->index > raft->log.base.index"] =
    "the entry at the base's index has its term and its chain: it is known there too",
  ["raft/catch_up.c raft_catch_up_moved remove: catch_up->target == 0"] =
    "what a peer lacks begins a round in the same step: none moves up without one",
  ["raft/configuration.c raft_configuration_insert bound: " ..
    "strcmp(configuration->servers[place].id.text, server->id.text) < 0"] = "nobody is inserted who is there",
  ["raft/handover.c raft_advance_handover remove: raft->role != RAFT_LEADER"] =
    "a handover ends with leadership: it is for a named mutant",
  ["raft/handover.c raft_advance_handover remove: !peer"] = HANDED,
  ["raft/handover.c raft_advance_handover remove: " ..
    "!raft_configuration_stays_voter(raft_effective(raft), &peer->id)"] = HANDED,
  ["raft/handover.c best_of bound: i < raft->peers.count"] = SPARE,
  ["raft/handover.c better bound: priority > other"] = "they differ here",
  ["raft/install.c is_here bound: meta->index > raft->commit_index"] =
    "an entry that is committed has the leader's term: it is here by that too",
  ["raft/lease.c raft_lease_until remove: !raft_handing_over(raft)"] =
    "while it is handed over there is none already: it keeps two named mutants apart",
  ["raft/log.c raft_log_keep_payload never: payload->blob || payload->bytes.size == 0"] =
    "a copy is as good as a reference",
  ["raft/log.c raft_log_run_of bound: log->runs[high].first <= index"] = "a shortcut: the search finds the same run",
  ["raft/log.c raft_log_run_of never: log->runs[high].first <= index"] = "a shortcut: the search finds the same run",
  ["raft/log.c raft_log_term_at bound: index < log->base.index"] = "the base's index is answered above",
  ["raft/log_snapshot.c forget_configurations bound: log->configurations[count].index <= upto"] =
    "it is kept twice then, as the snapshot's and as the log's: whoever asks is told the same",
  ["raft/membership.c check_difference remove: !peer"] =
    "a leader has a vote in what is committed, and everyone else in it is a peer",
  ["raft/membership.c check_servers bound: strcmp(server[-1].id.text, server->id.text) < 0"] = MADE,
  ["raft/membership.c check_servers remove: !sorted"] = MADE,
  ["raft/membership.c check_servers remove: !id_valid(server->id.text)"] = MADE,
  ["raft/peers.c raft_peers_follow bound: departed_until_us > 0"] =
    "who does not lead drops the departed as its next step begins, and tells them nothing until then",
  ["raft/raft.c follow_configuration never: raft->peers.configuration_changes == changes"] =
    "a shortcut: to follow the same configuration again changes no peer",
  ["raft/receive.c follow_term remove: raft_may_campaign(raft)"] =
    "whoever led has a vote, or had one before what is not committed, and a disk that takes writes",
  ["raft/snapshot.c on_its_way bound: i < raft->peers.count"] = MEMORY,
  ["raft/snapshot.c on_its_way remove: peer->progress == RAFT_SNAPSHOT"] = MEMORY,
  ["raft/snapshot.c on_its_way remove: peer->transfer.index == index"] = MEMORY,
  ["raft/snapshot.c raft_compact bound: newest->index > trailing"] = EQUAL,
  ["raft/snapshot.c raft_snapshots_load bound: meta->index > 0"] =
    "a snapshot of index 0 would be none: nothing is before it, and nobody needs it",
  ["raft/transfer.c raft_receive_snapshot_result remove: raft->role != RAFT_LEADER"] = AFRESH,
}
