//! What every store of the reboot semaphore promises, and what etcd's must survive.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "slots_contract/bench.rs"]
mod bench;
#[path = "support/etcd.rs"]
mod etcd;
#[path = "slots_contract/etcd_errors.rs"]
mod etcd_errors;
#[path = "slots_contract/etcd_faults.rs"]
mod etcd_faults;
#[path = "slots_contract/history.rs"]
mod history;
#[path = "slots_contract/promises.rs"]
mod promises;
#[path = "slots_contract/proxy.rs"]
mod proxy;
#[path = "support/wait.rs"]
mod wait;

/// Runs every promise on every store.
macro_rules! contract {
    ($($promise:ident)*) => {
        mod with_etcd {
            $(
                #[tokio::test]
                async fn $promise() {
                    crate::promises::$promise(crate::bench::Bench::etcd().await).await;
                }
            )*
        }
        mod with_a_file {
            $(
                #[tokio::test]
                async fn $promise() {
                    crate::promises::$promise(crate::bench::Bench::local()).await;
                }
            )*
        }
    };
}

contract! {
    never_more_than_max_hold_at_once
    first_come_first_served
    acquiring_again_answers_the_same_slot
    a_second_machine_with_the_same_node_id_is_refused
    releasing_what_is_not_ours_writes_nothing
    a_halted_group_admits_nobody_until_it_is_resumed
    a_raised_max_admits_the_next_at_once
    a_lowered_max_keeps_its_holders_and_admits_nobody
    a_slot_taken_away_by_an_admin_is_no_error_for_its_holder
    a_slot_taken_by_hand_is_waited_for
    an_admins_change_that_is_already_made_writes_nothing
    who_leaves_while_waiting_does_not_block_the_queue
    an_acquire_dropped_anywhere_never_keeps_a_slot_after_leave
    nobody_is_admitted_while_the_group_settles
    what_nodes_publish_is_what_others_read
}
