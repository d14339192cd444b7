//! Each fault: what is done, to whom, for how long, and what has to hold of the radiant that it hits.

use std::process::ExitStatus;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use tokio::time::{Instant, sleep};

use super::super::disk::Loss;
use super::super::harness::PATIENCE;
use super::bystanders::led_by_others;
use super::gaps::Pulse;
use super::links::State;
use super::plan::Fault;
use super::shim::{Call, Class, EIO, ENOSPC, Rule};
use super::stage::Stage;
use super::summary::Tally;
use super::{crashes, flips, images, one_of, steps};

/// Of the clusters under test.
const ELECTION_TIMEOUT: Duration = Duration::from_millis(500);
/// Within which a fault that waits for a call is given up: the radiant does not make it now.
const REACHED_MAX: Duration = Duration::from_secs(2);
/// Before a kill, to know what writes take without.
const CALM: Duration = Duration::from_secs(1);
/// How many calls are then tried, one after the other.
const CALLS_TRIED: usize = 5;

/// Of the end of each radiant's log, where a cluster does not find back.
const LINES_SHOWN: usize = 80;

/// How notes of failed calls begin.
const ERROR: &str = "error:";

/// Everything a fault plays with.
pub struct Scene<'a> {
    pub stage: &'a mut Stage,
    pub pulse: &'a Pulse,
    pub dice: &'a mut StdRng,
    pub tally: &'a mut Tally,
    /// Whether the engine serves while one member is away.
    pub survives_one: bool,
}

impl Scene<'_> {
    /// One fault from beginning to end: afterwards every key is written again.
    pub async fn play(&mut self, fault: Fault) {
        let one = self.target().await;
        self.pulse.mark();
        match fault {
            Fault::Kill => self.kill(one).await,
            Fault::KillAll => self.kill_all(None).await,
            Fault::Restart => self.restart(one).await,
            Fault::Pause => self.pause(one).await,
            Fault::Isolate => {
                self.avoid(&[one]);
                self.cut(one, |from, to, one| from == one || to == one).await;
            }
            Fault::OneWay if self.dice.random_bool(0.5) => self.cut(one, |from, _, one| from == one).await,
            Fault::OneWay => self.cut(one, |_, to, one| to == one).await,
            Fault::Bridge => {
                // Only the one between them reaches everybody.
                let others: Vec<usize> = self.stage.all().filter(|other| *other != one).collect();
                self.avoid(&others);
                self.cut(one, |from, to, one| from != one && to != one).await;
            }
            Fault::Flap => self.flap(one).await,
            Fault::Slow => self.slow(one).await,
            Fault::Power => self.power(one).await,
            Fault::PowerAll => {
                let seed = self.dice.random();
                let loss = one_of(self.dice, &[Loss::All, Loss::Torn(seed)]);
                self.kill_all(Some(loss)).await;
            }
            Fault::Clock => self.clock(one).await,
            Fault::Error => self.error(one).await,
            Fault::Crash => crashes::at_a_point(self, one).await,
            Fault::Full => self.full(&[one]).await,
            Fault::FullAll => self.full(&self.stage.all().collect::<Vec<_>>()).await,
            Fault::Flip => flips::in_one_radiant(self, one).await,
            Fault::Image => images::interrupted(self, one).await,
            Fault::ImageFlip => images::damaged(self, one).await,
            Fault::Move => steps::killed_in_a_move(self).await,
            Fault::Member => steps::killed_in_a_change_of_members(self, one).await,
        }
        self.stage.heal(self.pulse);
        let healed = Instant::now();
        // All at once, on a machine that others use too, may have a long log to go through.
        self.stage.cluster.ready_within(4 * PATIENCE).await;
        self.pulse.beats(2).await;
        self.tally.felt(fault, self.pulse.longest(), healed.elapsed());
    }

    /// More often than not somebody who leads an order.
    async fn target(&mut self) -> usize {
        let leading = self.stage.cluster.leading().await;
        let one = match leading.is_empty() || self.dice.random_ratio(1, 5) {
            true => self.dice.random_range(self.stage.all()),
            false => one_of(self.dice, &leading),
        };
        self.tally.note(if leading.contains(&one) {
            "hit a herald"
        } else {
            "hit a radiant that led nothing"
        });
        one
    }

    fn avoid(&self, radiants: &[usize]) {
        self.pulse.avoided.lock().extend(radiants);
    }

    /// Lets the fault last: until the others serve everything, if they can.
    pub async fn hold(&mut self) {
        let time = Duration::from_millis(self.dice.random_range(200..1500));
        sleep(time).await;
        if self.survives_one {
            self.pulse.beats(2).await;
        }
    }

    async fn kill(&mut self, one: usize) {
        self.avoid(&[one]);
        let others = led_by_others(self, one).await;
        self.pulse.took(&others);
        sleep(CALM).await;
        let calm = self.pulse.took(&others);
        self.stage.kill(one);
        self.hold().await;
        self.tally.bystanders.felt(calm, self.pulse.took(&others));
        self.stage.start(one);
    }

    async fn kill_all(&mut self, loss: Option<Loss>) {
        for radiant in self.stage.all() {
            self.stage.cluster.radiants[radiant].kill();
        }
        for radiant in self.stage.all() {
            self.stage.follow(radiant);
            if let Some(loss) = loss {
                self.stage.cut_power(radiant, loss);
            }
        }
        for radiant in self.stage.all() {
            self.stage.start(radiant);
        }
    }

    async fn restart(&mut self, one: usize) {
        self.avoid(&[one]);
        self.stage.cluster.radiants[one].terminate();
        assert_eq!(self.stage.cluster.radiants[one].ended().await.code(), Some(0), "it ends in order");
        self.stage.follow(one);
        self.stage.start(one);
    }

    async fn pause(&mut self, one: usize) {
        self.avoid(&[one]);
        self.stage.signal(one, "-STOP");
        sleep(ELECTION_TIMEOUT.mul_f64(self.dice.random_range(1.0..10.0))).await;
        self.stage.signal(one, "-CONT");
    }

    async fn cut(&mut self, one: usize, which: impl Fn(usize, usize, usize) -> bool) {
        let state = one_of(self.dice, &[State::Silent, State::Reset]);
        let held = self.stage.held();
        self.stage.links(state, |from, to| which(from, to, one));
        sleep(Duration::from_millis(self.dice.random_range(500..4000))).await;
        assert!(self.stage.held() > held, "radiants {one} and others speak past the proxies");
    }

    async fn flap(&mut self, one: usize) {
        self.avoid(&[one]);
        for _ in 0..self.dice.random_range(2..8) {
            for state in [State::Reset, State::Open, State::Silent, State::Open] {
                self.stage.links(state, |from, to| from == one || to == one);
                sleep(Duration::from_millis(self.dice.random_range(50..500))).await;
            }
        }
    }

    async fn slow(&mut self, one: usize) {
        self.avoid(&[one]);
        let late = Duration::from_millis(self.dice.random_range(20..300));
        self.stage.links(State::Slow(late), |from, _| from == one);
        sleep(Duration::from_millis(self.dice.random_range(500..2500))).await;
    }

    async fn power(&mut self, one: usize) {
        let other = (one + self.dice.random_range(1..3)) % 3;
        self.avoid(&[one, other]);
        self.stage.signal(other, "-STOP");
        sleep(Duration::from_millis(self.dice.random_range(0..700))).await;
        self.stage.kill(one);
        let seed = self.dice.random();
        self.stage.cut_power(one, one_of(self.dice, &[Loss::All, Loss::Torn(seed)]));
        self.stage.start(one);
        sleep(Duration::from_millis(self.dice.random_range(0..700))).await;
        self.stage.signal(other, "-CONT");
    }

    async fn clock(&mut self, one: usize) {
        for _ in 0..2 {
            self.stage.control(one).clock(one_of(self.dice, &[3600, -3600]));
            sleep(Duration::from_millis(self.dice.random_range(200..1200))).await;
        }
    }

    /// A call fails. The radiant may stop or end; it is started again, and must then be well.
    async fn error(&mut self, one: usize) {
        self.avoid(&[one]);
        for _ in 0..CALLS_TRIED {
            if self.one_call_fails(one).await {
                self.hold().await;
                break;
            }
        }
        self.stage.control(one).heal();
        if let Some(status) = self.stage.cluster.radiants[one].kill_if_it_runs() {
            let last = self.last_words(one, status);
            self.tally.note(format!("error: the radiant ended: {last}"));
        }
        self.stage.follow(one);
        self.stage.start(one);
    }

    /// Makes a call fail, under load or after a new start; whether the radiant made it.
    async fn one_call_fails(&mut self, one: usize) -> bool {
        let (call, class) = self.least_tried();
        let errno = one_of(self.dice, &[EIO, ENOSPC]);
        let (skip, times) = (one_of(self.dice, &[0, 0, 3, 20]), one_of(self.dice, &[1, i64::MAX]));
        let rule = Rule { call, class, errno, skip, times };
        let starting = self.dice.random_bool(0.4);
        if starting {
            self.stage.kill(one);
        }
        self.stage.control(one).fail(rule);
        if starting {
            self.stage.start(one);
        }
        let asked = Instant::now();
        while self.stage.control(one).failed() == 0 && asked.elapsed() < REACHED_MAX {
            sleep(Duration::from_millis(5)).await;
        }
        if self.stage.control(one).failed() == 0 {
            // So that it does not fail later, during something else.
            self.stage.control(one).heal();
        }
        let when = if starting { "at the start" } else { "under load" };
        let hit = self.stage.control(one).failed() > 0;
        let reached = if hit { "hit" } else { "not reached" };
        self.tally.note(format!("{ERROR} {call:?} of {class:?}: {reached} {when}"));
        hit
    }

    /// Of all calls that radiants were seen to make on files, one that was made to fail less often than others.
    fn least_tried(&mut self) -> (Call, Class) {
        let all = Call::ALL.iter().flat_map(|call| Class::ALL.map(|class| (*call, class)));
        let seen = |(call, class): &(Call, Class)| {
            self.stage.all().any(|one| self.stage.control(one).seen(*call, *class) > 0)
        };
        let tried = |(call, class): &(Call, Class)| {
            let prefix = format!("{ERROR} {call:?} of {class:?}: ");
            let notes = self.tally.notes.iter().filter(|(note, _)| note.starts_with(&prefix));
            notes.map(|(_, count)| *count).sum::<u64>()
        };
        let seen: Vec<_> = all.filter(seen).collect();
        let least = seen.iter().map(tried).min().expect("radiants under load write");
        let least: Vec<_> = seen.into_iter().filter(|point| tried(point) == least).collect();
        one_of(self.dice, &least)
    }

    /// No room, and room again: the radiants must find back by themselves.
    async fn full(&mut self, which: &[usize]) {
        if let [one] = which {
            self.avoid(&[*one]);
        }
        for radiant in which {
            self.stage.control(*radiant).small(self.dice.random_range(0..6 << 20));
        }
        let no_space = |stage: &Stage| which.iter().all(|radiant| stage.control(*radiant).no_space() > 0);
        let start = Instant::now();
        while !no_space(self.stage) && start.elapsed() < 6 * REACHED_MAX {
            let late = start.elapsed() > 2 * REACHED_MAX;
            for radiant in
                which.iter().filter(|radiant| late && self.stage.control(**radiant).no_space() == 0)
            {
                // It writes too little to fill what it was given.
                self.stage.control(*radiant).small(0);
            }
            sleep(Duration::from_millis(10)).await;
        }
        self.tally.note(if no_space(self.stage) {
            "full: no room was found"
        } else {
            "full: not filled in time"
        });
        sleep(Duration::from_millis(self.dice.random_range(0..1000))).await;
        self.stage.heal(self.pulse);
        self.recover(which).await;
    }

    /// Waits until each of these leads what it should, and starts those again that do not find back by themselves.
    async fn recover(&mut self, which: &[usize]) {
        let start = Instant::now();
        loop {
            // First, since where all have ended nobody can be asked.
            for radiant in which.iter().copied() {
                if !self.stage.cluster.radiants[radiant].runs() {
                    let last = self.ended(radiant).await;
                    self.tally.note(format!("full: a radiant ended: {last}"));
                    self.stage.start(radiant);
                }
            }
            if self.stage.cluster.leads_as_preferred().await {
                // Data that could not be written end a radiant when it applies something next.
                let mut well = tokio::time::timeout(REACHED_MAX, self.pulse.beats(2)).await.is_ok();
                for radiant in which {
                    // Ready, too: one that is about to end runs for seconds yet.
                    let radiant = &mut self.stage.cluster.radiants[*radiant];
                    well &= radiant.runs() && radiant.is_ready().await;
                }
                if well {
                    break;
                }
            }
            if start.elapsed() > PATIENCE {
                self.tally.falls_short("full: a radiant that runs does not find back without a restart");
                self.show().await;
                for radiant in which.iter().copied() {
                    if self.stage.cluster.radiants[radiant].runs() {
                        self.stage.kill(radiant);
                        self.stage.start(radiant);
                    }
                }
                return;
            }
            sleep(Duration::from_millis(100)).await;
        }
        self.tally.note("full: every radiant leads again");
    }

    /// What there is to see of a cluster that is not well.
    async fn show(&self) {
        for radiant in &self.stage.cluster.radiants {
            let log = radiant.log();
            let last = log.lines().count().saturating_sub(LINES_SHOWN);
            println!("{}: {:#}", radiant.name, radiant.status().await.unwrap_or_default());
            log.lines().skip(last).for_each(|line| println!("{}: {line}", radiant.name));
        }
    }

    /// Takes leave of a radiant that has ended by itself, in order: its last words.
    pub async fn ended(&mut self, radiant: usize) -> String {
        let status = self.stage.cluster.radiants[radiant].ended().await;
        let last = self.last_words(radiant, status);
        self.stage.follow(radiant);
        last
    }

    fn last_words(&self, radiant: usize, status: ExitStatus) -> String {
        let log = self.stage.cluster.radiants[radiant].log();
        let last = log.lines().last().unwrap_or_default().to_owned();
        assert_eq!(status.code(), Some(1), "it gives up in order: {last}");
        last
    }
}
