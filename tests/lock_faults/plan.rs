//! What happens in a round, drawn from its seed.

use std::time::Duration;

use crate::dice::Dice;

/// A round.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The groups there are, and their `max`.
    pub groups: Vec<(String, u32)>,
    pub agents: Vec<Life>,
    /// What is done to which group.
    pub admin: Vec<(Duration, String, Deed)>,
    pub accidents: Vec<Accident>,
}

/// What an agent goes through.
#[derive(Clone, Debug)]
pub struct Life {
    pub begins: Duration,
    pub groups: Vec<String>,
    pub turns: Vec<Turn>,
    /// The agent's way to etcd, when it is not straight.
    pub road: Option<Trouble>,
}

/// One time to hold a slot.
#[derive(Clone, Debug)]
pub struct Turn {
    /// The acquire is killed at some moment, and then this happens.
    pub killed: Option<(Moment, Fate)>,
    pub holds: Duration,
    /// The agent is killed while it holds, and looks for its slot when it is back.
    pub restarts: bool,
    /// The release is killed when it has been polled so often, and tried again.
    pub release_killed: Option<u64>,
    pub settle: Duration,
}

/// When an agent is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// When what it does has been polled so often.
    Poll(u64),
    /// When the accident on its road has happened.
    Accident,
}

/// What becomes of an agent that was killed while it waited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is started again and goes on.
    Again,
    /// It is started again and leaves, and is killed once more meanwhile.
    Leaves(Option<u64>),
    /// It never comes back.
    Dies,
}

/// An agent's way to etcd.
#[derive(Clone, Debug)]
pub enum Trouble {
    /// Everything takes this long, in each direction.
    Slow(Duration),
    /// The reply to the request with this in it is lost, and later ones on the same connections.
    ReplyLost(&'static str),
    /// The request with this in it arrives this much later, when its client has long given up.
    Late(&'static str, Duration),
    /// All connections are cut, again and again: every watch is lost.
    Cut(Duration),
}

/// What an admin does.
#[derive(Clone, Debug)]
pub enum Deed {
    SetMax(u32),
    /// Halts the group for so long, and resumes it.
    Halt(Duration),
    /// Halts the group for a second, by etcd's clock.
    TimedHalt,
    /// Takes away whatever an agent has.
    Unlock(usize),
    /// Locks by hand for so long.
    Lock(Duration),
    /// Not an admin at all: a machine with a cloned id gives back and leaves in another's name.
    Clone(usize),
}

/// Something happens to the members.
#[derive(Clone, Debug)]
pub struct Accident {
    pub after: Duration,
    pub lasts: Duration,
    pub what: What,
}

/// Which member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Leader,
    Follower,
}

/// How members are made useless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Killed,
    /// They stand still, and their connections with them.
    Frozen,
    /// Nothing they are sent arrives, nor what they send.
    Unplugged,
    /// They cannot reach other members nor be reached by them, and are told so.
    CutOff,
    /// They cannot send to other members.
    Mute,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    One(Who, How),
    /// Two of three.
    Quorum(How),
    /// Every write to disk takes so many milliseconds more.
    SlowDisk(Who, u64),
    Compaction,
    /// Leadership goes to another member, as before a planned reboot.
    LeadershipMoved,
    /// Tickets lose their leases, as after a partition.
    LeasesRevoked,
}

/// Parts of requests: of one that admits or releases, of one that puts a ticket.
const WRITES: [&str; 2] = ["\"holders\":[", "\"nonce\":\"nonce-"];

impl Plan {
    pub fn draw(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let agents = 3 + dice.below(3);
        let accidents = accidents(&mut dice.split());
        let mut dice = dice.split();
        let names = if dice.percent(50) { &["default"][..] } else { &["db", "rack"][..] };
        let groups: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        Self {
            agents: (0..agents).map(|_| Life::draw(&mut dice.split(), &groups)).collect(),
            admin: admin(&mut dice, agents, &groups),
            groups: groups.into_iter().map(|name| (name, max(&mut dice))).collect(),
            accidents,
        }
    }

    /// No waiter may have been silent for as long as its ticket lives.
    pub fn calm(&self) -> bool {
        let quiet = |life: &Life| {
            life.road.is_none() && life.turns.iter().all(|turn| turn.killed.is_none())
        };
        let harmless = |a: &Accident| matches!(a.what, What::Compaction | What::LeadershipMoved);
        self.accidents.iter().all(harmless) && self.agents.iter().all(quiet)
    }

    /// Whether an admin may take away what this agent holds.
    pub fn unlocks(&self, agent: usize) -> bool {
        self.admin.iter().any(|(_, _, deed)| matches!(deed, Deed::Unlock(other) if *other == agent))
    }
}

impl Life {
    fn draw(dice: &mut Dice, groups: &[String]) -> Self {
        let turns = 1 + dice.below(2);
        let groups =
            if dice.percent(50) { groups.to_vec() } else { vec![dice.pick(groups).clone()] };
        let road = dice.percent(15).then(|| Trouble::draw(dice));
        let mut turns: Vec<_> = (0..turns).map(|_| Turn::draw(dice)).collect();
        let mut begins = dice.millis(0..=10);
        if matches!(road, Some(Trouble::Late(..) | Trouble::ReplyLost(_))) && dice.percent(50) {
            turns[0].killed = Some((Moment::Accident, Fate::draw(dice)));
            if dice.percent(50) {
                // The last of all: nothing that others do stands in the way of what comes late.
                turns.truncate(1);
                begins = dice.millis(30..=120);
            }
        }
        Self { begins, groups, turns, road }
    }
}

impl Turn {
    fn draw(dice: &mut Dice) -> Self {
        Self {
            killed: dice.percent(25).then(|| (Moment::Poll(dice.within(1..=30)), Fate::draw(dice))),
            holds: dice.millis(0..=12),
            restarts: dice.percent(15),
            release_killed: dice.percent(15).then(|| dice.within(1..=12)),
            // etcd grants no lease below a second.
            settle: if dice.percent(1) { Duration::from_secs(1) } else { Duration::ZERO },
        }
    }
}

impl Fate {
    fn draw(dice: &mut Dice) -> Self {
        match dice.within(0..=99) {
            0..60 => Self::Again,
            60..97 => Self::Leaves(dice.percent(30).then(|| dice.within(1..=8))),
            _ => Self::Dies,
        }
    }
}

impl Trouble {
    fn draw(dice: &mut Dice) -> Self {
        let write = *dice.pick(&WRITES);
        match dice.within(0..=99) {
            0..25 => Self::Slow(dice.millis(1..=8)),
            25..50 => Self::ReplyLost(write),
            50..80 => Self::Late(write, dice.millis(50..=900)),
            _ => Self::Cut(dice.millis(5..=40)),
        }
    }
}

fn max(dice: &mut Dice) -> u32 {
    u32::try_from(dice.within(1..=2)).unwrap()
}

fn admin(dice: &mut Dice, agents: usize, groups: &[String]) -> Vec<(Duration, String, Deed)> {
    let deeds = if dice.percent(60) { 1 + dice.below(2) } else { 0 };
    let deed = |dice: &mut Dice| match dice.within(0..=99) {
        0..35 => Deed::SetMax(max(dice)),
        35..53 => Deed::Halt(dice.millis(0..=30)),
        53..55 => Deed::TimedHalt,
        55..70 => Deed::Unlock(dice.below(agents)),
        70..85 => Deed::Lock(dice.millis(0..=20)),
        _ => Deed::Clone(dice.below(agents)),
    };
    (0..deeds).map(|_| (dice.millis(0..=30), dice.pick(groups).clone(), deed(dice))).collect()
}

fn accidents(dice: &mut Dice) -> Vec<Accident> {
    let number = match dice.within(0..=99) {
        0..40 => 0,
        40..90 => 1,
        _ => 2,
    };
    let accident = |dice: &mut Dice| Accident {
        after: dice.millis(0..=20),
        lasts: dice.millis(5..=300),
        what: What::draw(dice),
    };
    (0..number).map(|_| accident(dice)).collect()
}

impl What {
    fn draw(dice: &mut Dice) -> Self {
        let who = *dice.pick(&[Who::Leader, Who::Follower]);
        let how = *dice.pick(&[How::Frozen, How::Unplugged, How::CutOff, How::Mute]);
        match dice.within(0..=99) {
            0..14 => Self::One(Who::Leader, How::Killed),
            14..22 => Self::One(Who::Follower, How::Killed),
            22..45 => Self::One(who, how),
            45..53 => Self::Quorum(*dice.pick(&[How::Killed, How::Frozen, How::CutOff])),
            53..62 => Self::SlowDisk(who, dice.within(10..=80)),
            62..80 => Self::Compaction,
            80..93 => Self::LeadershipMoved,
            _ => Self::LeasesRevoked,
        }
    }
}
