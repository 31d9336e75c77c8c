//! What is counted and held by cgroup.
//!
//! A connection keeps the place of its account, so that no event looks one up.

use std::collections::HashMap;

use modeltap_core::accounting::{InProgress, ParserCounts};
use modeltap_core::connection::CgroupId;

/// Place of an account, for as long as a connection of its cgroup is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AccountId(usize);

/// What a connection holds, or all of a cgroup do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) in_progress: InProgress,
    /// For open requests, partial heads and what waits to be told.
    pub(crate) bytes: usize,
}

/// One cgroup's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Account {
    cgroup: CgroupId,
    pub(crate) counts: ParserCounts,
    /// What its connections hold.
    pub(crate) held: Held,
    /// Whether model names and usage may be read from bodies.
    pub(crate) inspect: bool,
    n_connections: usize,
    /// Not wanted any more once it has no connections.
    forgotten: bool,
}

/// The accounts of all cgroups. Those with connections are as many as these at
/// most; of the others only so many are kept.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    accounts: Vec<Account>,
    free: Vec<usize>,
    by_cgroup: HashMap<CgroupId, usize>,
}

impl Accounts {
    /// A connection of `cgroup` is opened.
    pub(crate) fn join(&mut self, cgroup: CgroupId) -> AccountId {
        let place = self.place(cgroup);
        let account = &mut self.accounts[place];
        account.n_connections += 1;
        account.forgotten = false;
        AccountId(place)
    }

    /// A connection is gone; accounts without any are dropped beyond `most`.
    pub(crate) fn leave(&mut self, id: AccountId, most: usize) {
        let account = &mut self.accounts[id.0];
        account.n_connections -= 1;
        let is_spare = account.forgotten || (!account.inspect && self.by_cgroup.len() > most);
        if account.n_connections == 0 && is_spare {
            self.remove(id.0);
        }
    }

    /// The cgroup is gone.
    pub(crate) fn forget(&mut self, cgroup: CgroupId) {
        let Some(&place) = self.by_cgroup.get(&cgroup) else {
            return;
        };
        let account = &mut self.accounts[place];
        account.forgotten = true;
        if account.n_connections == 0 {
            self.remove(place);
        }
    }

    /// Lets or no longer lets bodies of `cgroup` be looked at: `false` where
    /// there are `most` accounts already.
    pub(crate) fn set_inspect(&mut self, cgroup: CgroupId, inspect: bool, most: usize) -> bool {
        let is_known = self.by_cgroup.contains_key(&cgroup);
        if !is_known && (!inspect || self.by_cgroup.len() >= most) {
            return !inspect;
        }
        let place = self.place(cgroup);
        self.accounts[place].inspect = inspect;
        true
    }

    pub(crate) fn of(&mut self, id: AccountId) -> &mut Account {
        &mut self.accounts[id.0]
    }

    /// The account of `cgroup`, if it has one.
    pub(crate) fn find(&self, cgroup: CgroupId) -> Option<&Account> {
        self.by_cgroup
            .get(&cgroup)
            .map(|place| &self.accounts[*place])
    }

    /// All accounts.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (CgroupId, &Account)> {
        self.by_cgroup
            .iter()
            .map(|(cgroup, place)| (*cgroup, &self.accounts[*place]))
    }

    fn place(&mut self, cgroup: CgroupId) -> usize {
        if let Some(&place) = self.by_cgroup.get(&cgroup) {
            return place;
        }
        let account = Account {
            cgroup,
            counts: ParserCounts::default(),
            held: Held::default(),
            inspect: false,
            n_connections: 0,
            forgotten: false,
        };
        let place = match self.free.pop() {
            Some(place) => {
                self.accounts[place] = account;
                place
            }
            None => {
                self.accounts.push(account);
                self.accounts.len() - 1
            }
        };
        self.by_cgroup.insert(cgroup, place);
        place
    }

    fn remove(&mut self, place: usize) {
        self.by_cgroup.remove(&self.accounts[place].cgroup);
        self.free.push(place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: CgroupId = CgroupId(1);
    const B: CgroupId = CgroupId(2);

    fn cgroups(accounts: &Accounts) -> Vec<u64> {
        let mut cgroups: Vec<_> = accounts.iter().map(|(cgroup, _)| cgroup.0).collect();
        cgroups.sort_unstable();
        cgroups
    }

    #[test]
    fn account_outlives_its_connections_until_it_is_forgotten() {
        let mut accounts = Accounts::default();
        let id = accounts.join(A);
        accounts.of(id).counts.bytes_observed = 5;
        accounts.leave(id, 10);
        assert_eq!(accounts.join(A), id);
        accounts.forget(A);
        assert_eq!(cgroups(&accounts), [1], "a connection is open");
        accounts.leave(id, 10);
        assert_eq!(cgroups(&accounts), []);
        // Its place is another's now.
        assert_eq!(accounts.join(B), id);
        assert_eq!(accounts.of(id).counts.bytes_observed, 0);
        accounts.forget(A);
        assert_eq!(cgroups(&accounts), [2]);
    }

    #[test]
    fn cgroup_that_comes_back_is_not_forgotten() {
        let mut accounts = Accounts::default();
        let id = accounts.join(A);
        accounts.forget(A);
        accounts.join(A);
        accounts.leave(id, 10);
        accounts.leave(id, 10);
        assert_eq!(cgroups(&accounts), [1]);
    }

    #[test]
    fn accounts_without_connections_are_bounded() {
        let mut accounts = Accounts::default();
        for cgroup in 0..100 {
            let id = accounts.join(CgroupId(cgroup));
            accounts.leave(id, 10);
        }
        assert_eq!((accounts.iter().count(), accounts.accounts.len()), (10, 11));
        assert!(!accounts.set_inspect(CgroupId(1_000), true, 10));
        assert!(accounts.set_inspect(CgroupId(1_000), false, 10));
        assert!(accounts.set_inspect(CgroupId(3), true, 10));
        assert_eq!(accounts.iter().count(), 10);
    }
}
