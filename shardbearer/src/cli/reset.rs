//! `order reset` and `system reset`: asking for an order to begin anew, and the account of it.

use serde::Serialize;
use shardbearer_client::{Client, pb};

use super::Global;
use super::failure::Failure;
use super::output::{self, Output};

/// The answer, as printed for programs.
#[derive(Debug, Default, PartialEq, Serialize)]
struct Answer {
    /// "done", "refused", or "possible" where it was only asked what would follow.
    outcome: &'static str,
    done: bool,
    epoch: u64,
    members: Vec<Member>,
    /// The member that the order would go on from, if there is one.
    survivor: Option<u64>,
    account: Vec<String>,
    /// Why it is refused, forced or not.
    blockers: Vec<String>,
    /// Why it is refused unless forced.
    dangers: Vec<String>,
}

#[derive(Debug, Default, PartialEq, Serialize)]
struct Member {
    id: u64,
    name: String,
    reached: bool,
    last_term: u64,
    last_index: u64,
    applied: u64,
}

impl From<pb::ResetResponse> for Answer {
    fn from(answer: pb::ResetResponse) -> Self {
        let pb::ResetResponse { done, epoch, members, survivor, account, blockers, dangers } = answer;
        let member = |member: pb::MemberLog| {
            let pb::MemberLog { radiant: id, name, reached, last_term, last_index, applied } = member;
            Member { id, name, reached, last_term, last_index, applied }
        };
        let members = members.into_iter().map(member).collect();
        Answer {
            outcome: "",
            done,
            epoch,
            members,
            survivor: (survivor > 0).then_some(survivor),
            account,
            blockers,
            dangers,
        }
    }
}

/// Asks, shows the account, and fails if it is refused.
pub(super) async fn run(client: &Client, global: &Global, request: pb::ResetRequest) -> anyhow::Result<()> {
    let pb::ResetRequest { dry_run, force, .. } = request;
    let mut answer: Answer = client.reset(request).await?.into();
    let refusal = answer.settle(dry_run, force);
    match global.output {
        Output::Json => output::json(&answer)?,
        Output::Table => output::line(words(&answer))?,
    }
    refusal.map_or(Ok(()), |refusal| Err(refusal.into()))
}

impl Answer {
    /// Gives the outcome a name, and says why it is a failure if it is one.
    fn settle(&mut self, dry_run: bool, force: bool) -> Option<Failure> {
        let lawful = self.blockers.is_empty();
        let unforced = lawful && !self.dangers.is_empty() && !force;
        self.outcome = match self.done {
            true => "done",
            false if dry_run && lawful && !unforced => "possible",
            false => "refused",
        };
        (self.outcome == "refused").then(|| Failure::refused(dry_run, &self.blockers))
    }
}

/// The account for people.
fn words(answer: &Answer) -> String {
    let mut lines = Vec::new();
    lines.push(match answer.done {
        true => format!("Decided, epoch {}.", answer.epoch),
        false => "Nothing was changed.".to_owned(),
    });
    if !answer.members.is_empty() {
        let mut table = output::table(&["  member", "answers", "last entry", "of term", "applied"]);
        for member in &answer.members {
            let known = |number: u64| if member.reached { number.to_string() } else { "-".to_owned() };
            let answers = match (member.reached, answer.survivor == Some(member.id)) {
                (true, true) => "yes, furthest",
                (true, false) => "yes",
                (false, _) => "no",
            };
            let applied = if member.applied == 0 { "-".to_owned() } else { member.applied.to_string() };
            table.add_row([
                format!("  {} ({})", member.name, member.id),
                answers.to_owned(),
                known(member.last_index),
                known(member.last_term),
                applied,
            ]);
        }
        output::right(&mut table, &[2, 3, 4]);
        lines.push(table.to_string());
    }
    let known = match answer.done {
        true => "What was known, and what follows:",
        false => "What is known, and what would follow:",
    };
    output::section(&mut lines, known, &answer.account);
    output::refusals(&mut lines, answer.done, &answer.blockers, &answer.dangers);
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_account_shows_who_answers_and_what_is_unsafe() {
        let member = |id, reached, applied| Member {
            id,
            name: format!("r{id}"),
            reached,
            last_term: 4,
            last_index: 120,
            applied,
        };
        let mut answer = Answer {
            members: vec![member(1, true, 119), member(2, false, 117), member(3, false, 0)],
            survivor: Some(1),
            dangers: vec!["writes may be lost".into()],
            ..Answer::default()
        };
        let words = words(&answer);
        assert!(words.starts_with("Nothing was changed.\n"), "{words}");
        assert!(words.ends_with("Unsafe, so that it takes --force:\n  writes may be lost"), "{words}");
        let row = |who: &str| words.lines().find(|line| line.contains(who)).unwrap_or_default().to_owned();
        assert!(row("r1").contains("yes, furthest") && row("r1").contains("120"), "{words}");
        assert!(
            row("r2").contains("no") && row("r2").contains("117") && !row("r2").contains("120"),
            "{words}"
        );
        assert!(!row("r3").contains("120"), "{words}");

        (answer.done, answer.epoch) = (true, 9);
        answer.account = vec!["it goes on from r1".into()];
        let words = super::words(&answer);
        assert!(words.starts_with("Decided, epoch 9.\n"), "{words}");
        let end = "What was known, and what follows:\n  it goes on from r1\nForced, although:\n  writes may be lost";
        assert!(words.ends_with(end), "{words}");
    }
    #[test]
    fn the_outcome_says_what_became_of_it_and_a_refusal_what_it_takes() {
        let settled = |done, blockers: &[&str], dangers: &[&str], dry_run, force| {
            let list = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect();
            let (blockers, dangers) = (list(blockers), list(dangers));
            let mut answer = Answer { done, blockers, dangers, ..Answer::default() };
            let refusal = answer.settle(dry_run, force).map(|refusal| refusal.to_string());
            (answer.outcome, refusal.unwrap_or_default())
        };
        let unsafe_one = ["writes may be lost"];
        assert_eq!(settled(true, &[], &unsafe_one, false, true), ("done", String::new()));
        assert_eq!(settled(false, &[], &unsafe_one, true, true), ("possible", String::new()));
        let (outcome, why) = settled(false, &[], &unsafe_one, false, false);
        assert!(outcome == "refused" && why.contains("add --force"), "{why}");
        let (outcome, why) = settled(false, &["it has its majority"], &unsafe_one, false, true);
        assert!(outcome == "refused" && !why.contains("--force"), "{why}");
    }
}
