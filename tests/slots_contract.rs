//! What every store of the reboot semaphore promises, and what etcd's must survive.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "slots_contract/bench.rs"]
mod bench;
#[path = "slots_contract/canary.rs"]
mod canary;
#[path = "support/etcd.rs"]
mod etcd;
#[path = "slots_contract/etcd_access.rs"]
mod etcd_access;
#[path = "slots_contract/etcd_errors.rs"]
mod etcd_errors;
#[path = "slots_contract/etcd_faults.rs"]
mod etcd_faults;
#[path = "slots_contract/etcd_quorum.rs"]
mod etcd_quorum;
#[path = "support/fenced.rs"]
mod fenced;
#[path = "slots_contract/fleetlock.rs"]
mod fleetlock;
#[path = "slots_contract/groups.rs"]
mod groups;
#[path = "slots_contract/history.rs"]
mod history;
#[path = "support/hub.rs"]
mod hub;
#[path = "slots_contract/polling.rs"]
mod polling;
#[path = "slots_contract/promises.rs"]
mod promises;
#[path = "support/proxy.rs"]
mod proxy;
#[path = "support/trace.rs"]
mod trace;
#[path = "support/wait.rs"]
mod wait;

/// Runs every promise on every store.
macro_rules! contract {
    ($($promises:ident::$promise:ident)*) => {
        mod with_etcd {
            $(
                #[tokio::test]
                async fn $promise() {
                    crate::$promises::$promise(crate::bench::Bench::etcd().await).await;
                }
            )*
        }
        mod with_etcd_that_asks_for_papers {
            $(
                #[tokio::test]
                async fn $promise() {
                    crate::$promises::$promise(crate::bench::Bench::fenced().await).await;
                }
            )*
        }
        mod with_a_file {
            $(
                #[tokio::test]
                async fn $promise() {
                    crate::$promises::$promise(crate::bench::Bench::local()).await;
                }
            )*
        }
        mod with_a_database {
            $(
                #[tokio::test]
                async fn $promise() {
                    crate::$promises::$promise(crate::bench::Bench::database()).await;
                }
            )*
        }
    };
}

/// Runs every promise that FleetLock has words for through a hub, over each store it may have.
macro_rules! fleetlock_contract {
    ($($promises:ident::$promise:ident)*) => {
        mod with_a_hub_over_etcd {
            $(
                #[tokio::test]
                async fn $promise() {
                    let behind = crate::bench::Bench::etcd().await;
                    crate::$promises::$promise(crate::bench::Bench::hub(behind).await).await;
                }
            )*
        }
        mod with_a_hub_over_a_database {
            $(
                #[tokio::test]
                async fn $promise() {
                    let behind = crate::bench::Bench::database();
                    crate::$promises::$promise(crate::bench::Bench::hub(behind).await).await;
                }
            )*
        }
    };
}

contract! {
    promises::never_more_than_max_hold_at_once
    promises::first_come_first_served
    promises::acquiring_again_answers_the_same_slot
    promises::a_second_machine_with_the_same_node_id_is_refused
    promises::releasing_what_is_not_ours_writes_nothing
    promises::a_halted_group_admits_nobody_until_it_is_resumed
    promises::a_raised_max_admits_the_next_at_once
    promises::a_lowered_max_keeps_its_holders_and_admits_nobody
    promises::a_slot_taken_away_by_an_admin_is_no_error_for_its_holder
    promises::a_slot_taken_by_hand_is_waited_for
    promises::an_admins_change_that_is_already_made_writes_nothing
    promises::who_leaves_while_waiting_does_not_block_the_queue
    promises::an_acquire_dropped_anywhere_never_keeps_a_slot_after_leave
    promises::nobody_is_admitted_while_the_group_settles
    promises::what_nodes_publish_is_what_others_read
    groups::a_node_in_several_groups_gets_all_slots_at_once_or_none
    groups::nodes_in_crossing_groups_never_block_each_other_for_ever
    groups::who_holds_only_a_part_gives_it_back_before_it_waits
    groups::a_settle_time_keeps_each_group_that_was_left
    groups::a_halt_for_a_while_ends_by_itself
    groups::a_halt_for_a_while_holds_back_a_head_that_waits_already
    groups::what_happened_is_told_in_order
    groups::an_overdue_mark_is_made_once_and_only_on_this_very_holder
    groups::every_group_that_was_used_is_known
    polling::a_refused_poll_of_a_ticket_holder_writes_nothing
    polling::who_no_longer_polls_leaves_the_queue
    polling::pollers_and_waiters_stand_in_one_queue
    polling::any_text_can_be_the_id_of_a_poller
}

fleetlock_contract! {
    promises::never_more_than_max_hold_at_once
    promises::first_come_first_served
    promises::acquiring_again_answers_the_same_slot
    promises::a_halted_group_admits_nobody_until_it_is_resumed
    promises::a_raised_max_admits_the_next_at_once
    promises::a_lowered_max_keeps_its_holders_and_admits_nobody
    promises::a_slot_taken_away_by_an_admin_is_no_error_for_its_holder
    promises::a_slot_taken_by_hand_is_waited_for
    promises::an_admins_change_that_is_already_made_writes_nothing
    fleetlock::an_id_that_an_agent_uses_is_refused
    fleetlock::releasing_what_is_not_held_writes_nothing
    fleetlock::who_leaves_while_waiting_does_not_block_the_queue
    fleetlock::an_acquire_dropped_anywhere_keeps_no_slot_after_leave
    fleetlock::nobody_is_admitted_while_the_group_settles
    fleetlock::agents_and_fleetlock_clients_wait_in_one_queue
    fleetlock::what_the_protocol_has_no_words_for_is_an_error_and_not_a_guess
}
