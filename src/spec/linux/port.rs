//! Ports: who may have one that others have, and which one the kernel picks. TCP's in bind buckets, and UDP's.
//!
//! What a call makes of a port that it does not get is the call's business.

use super::address::{Receiver, overlap, stands_for};
use super::rules;
use crate::spec::course::{Course, Ports};
use crate::spec::state::{Cache, CachedReusePort, SocketEntry, SocketId, State, mapped};
use crate::words::names::{Os, Protocol, SocketState};
use crate::words::ports::{PORT_RANGE, PortRange};

const RESERVED: &str = "net.ipv4.ip_local_reserved_ports";
const AUTOBIND_REUSE: &str = "net.ipv4.ip_autobind_reuse";

/// Whether a call looks for any port, and then for which it settles; or wants one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// It wants this port.
    Wants,
    /// Any port that nobody has.
    Seeks,
    /// Any port that SO_REUSEADDR shares (`relax`).
    Settles,
}

/// The ports that may be picked, in the order of preference: a later group only where an earlier one has none.
enum Preference {
    /// Those at an odd distance from the lowest, and for SO_REUSEADDR of the lower half of the range.
    Bind,
    /// Those at an even distance.
    Connect,
}

/// Gives a socket that port, or one that the kernel picks, unless others keep it out: `get_port`.
pub fn get_port(cx: &mut Course<'_>, s: &mut State, id: SocketId, port: u16) -> bool {
    match s.socket(id).protocol {
        Protocol::Udp => udp_get_port(cx, s, id, port),
        Protocol::Tcp | Protocol::Mptcp => tcp_get_port(cx, s, id, port),
    }
}

/// `inet_csk_get_port()`.
fn tcp_get_port(cx: &mut Course<'_>, s: &mut State, id: SocketId, port: u16) -> bool {
    let port = if port == 0 {
        let Some(port) = seek(cx, s, id) else { return false };
        port
    } else if is_cached(cx, s, id, port) || !is_held(cx, s, id, port, Look::Wants) {
        port
    } else {
        return false;
    };
    remember(cx, s, id, port);
    s.take_port(id, port);
    true
}

/// `inet_csk_find_open_port()`.
fn seek(cx: &mut Course<'_>, s: &State, id: SocketId) -> Option<u16> {
    let groups = preferred(cx, s, id, Preference::Bind);
    let picked = pick(cx, s, &groups, |cx, port| !is_held(cx, s, id, port, Look::Seeks));
    let relaxes = picked.is_none() && s.host.number(Os::Linux, AUTOBIND_REUSE) != 0;
    match cx.holds(&rules::AUTOBIND_REUSE, relaxes) {
        true => pick(cx, s, &groups, |cx, port| !is_held(cx, s, id, port, Look::Settles)),
        false => picked,
    }
}

/// A port of the first group that has one; the rules that it met are those of the port that was picked.
pub fn pick(
    cx: &mut Course<'_>,
    s: &State,
    groups: &[Ports],
    mut is_free: impl FnMut(&mut Course<'_>, u16) -> bool,
) -> Option<u16> {
    let (mut met, mut bounded) = (Vec::new(), Vec::new());
    let picked = cx.pick(groups, |port| {
        let mut own = Course::new(cx.world, None);
        let free = !is_reserved(&mut own, s, port) && is_free(&mut own, port);
        met = own.rules;
        bounded.extend(own.bounded);
        free
    });
    cx.rules.extend(met);
    cx.bounded.extend(bounded);
    picked
}

fn preferred(cx: &mut Course<'_>, s: &State, id: SocketId, preference: Preference) -> Vec<Ports> {
    let options = &s.socket(id).options;
    let (range, of_socket) = range(cx, s, id);
    let (low, high) = (range.low(), range.high());
    let mut groups = Vec::new();
    // `high - low < 4`: there are no halves.
    let half = low + ((range.size() >> 2 << 1) as u16);
    let halves = match preference {
        Preference::Bind if options.reuse_addr && range.size() >= 4 => vec![(low, half - 1), (half, high)],
        Preference::Bind | Preference::Connect => vec![(low, high)],
    };
    for (low, high) in halves {
        let by_connect = matches!(preference, Preference::Connect);
        if by_connect && cx.holds(&rules::RANGE_OF_SOCKET_WHOLE, of_socket) {
            groups.push(Ports { low, high, step: 1 });
            continue;
        }
        let (mut even, odd) = (Ports { low, high, step: 2 }, Ports { low: low.saturating_add(1), high, step: 2 });
        let is_odd = (high - low).is_multiple_of(2) && high > low;
        // Where all ports are taken in the end, it makes no difference.
        if cx.only.is_none() && cx.holds(&rules::ODD_RANGE_MISSES, is_odd) {
            // Where the search begins decides which end is left out.
            even = if cx.choose(2) == 0 { Ports { high: high - 1, ..even } } else { Ports { low: low + 2, ..even } };
        }
        groups.extend(if by_connect { [even, odd] } else { [odd, even] });
    }
    groups
}

/// The ports that connect() may pick, in the order of preference.
pub fn for_connect(cx: &mut Course<'_>, s: &State, id: SocketId) -> Vec<Ports> {
    preferred(cx, s, id, Preference::Connect)
}

/// The range that a socket's port is picked from, and whether that is its own.
fn range(cx: &mut Course<'_>, s: &State, id: SocketId) -> (PortRange, bool) {
    let own = s.socket(id).options.range;
    let of_socket = cx.holds(&rules::RANGE_OF_SOCKET, own.is_some());
    (own.filter(|_| of_socket).unwrap_or_else(|| range_of_host(s)), of_socket)
}

fn range_of_host(s: &State) -> PortRange {
    let mut ends = s.host.sysctl(Os::Linux, PORT_RANGE).split_whitespace().map(str::parse);
    let range = match (ends.next(), ends.next()) {
        (Some(Ok(low)), Some(Ok(high))) => PortRange::new(low, high).ok(),
        _ => None,
    };
    range.unwrap_or(PortRange::of::<32_768, 60_999>())
}

/// Whether the host's administrator keeps a port from every search.
fn is_reserved(cx: &mut Course<'_>, s: &State, port: u16) -> bool {
    let has_port = |item: &str| {
        let (low, high) = item.split_once('-').unwrap_or((item, item));
        matches!((low.trim().parse(), high.trim().parse()), (Ok(low), Ok(high)) if (low..=high).contains(&port))
    };
    let list = s.host.sysctl(Os::Linux, RESERVED);
    cx.holds(&rules::RESERVED_NOT_PICKED, !list.is_empty() && list.split(',').any(has_port))
}

/// Whether others keep the socket from a port: `inet_csk_bind_conflict()` over all owners.
fn is_held(cx: &mut Course<'_>, s: &State, id: SocketId, port: u16, look: Look) -> bool {
    let claimer = s.socket(id);
    let others: Vec<SocketId> =
        s.owners(claimer.protocol, port).map(|(other, _)| other).filter(|other| *other != id).collect();
    others.into_iter().any(|other| conflicts(cx, claimer, s.socket(other), look))
}

/// `inet_bind_conflict()`, and whether the addresses overlap.
fn conflicts(cx: &mut Course<'_>, claimer: &SocketEntry, holder: &SocketEntry, look: Look) -> bool {
    if cx.holds(&rules::DEVICES_APART, on_other_device(claimer, holder)) {
        return false;
    }
    let is_missed = mapped(claimer.address).is_some_and(|address| !address.is_unspecified())
        && mapped(holder.address).is_some_and(|address| address.is_unspecified());
    if cx.holds(&rules::MAPPED_WILDCARD_MISSED, is_missed) || !overlap(cx, Receiver::of(claimer), Receiver::of(holder))
    {
        return false;
    }
    let both_addr = claimer.options.reuse_addr && holder.options.reuse_addr;
    let both_port = claimer.options.reuse_port && holder.options.reuse_port;
    let same_user = claimer.owner == holder.owner;
    let listens = holder.state == SocketState::Listen;
    let by_addr = both_addr && !cx.holds(&rules::LISTENER_EXCLUDES_REUSEADDR, both_addr && listens);
    if by_addr {
        return match look {
            Look::Wants => !cx.holds(&rules::REUSEADDR_SHARES, true),
            Look::Seeks => cx.holds(&rules::SEARCH_SHARES_NOTHING, true),
            Look::Settles => {
                let by_port = both_port && (same_user || holder.state == SocketState::TimeWait);
                cx.holds(&rules::SETTLES_NOT_FOR_REUSEPORT, by_port) || !cx.holds(&rules::REUSEADDR_SHARES, true)
            }
        };
    }
    if look != Look::Wants {
        return cx.holds(&rules::SEARCH_SHARES_NOTHING, true);
    }
    if cx.holds(&rules::REUSEPORT_OVER_TIME_WAIT, both_port && holder.state == SocketState::TimeWait) {
        return false;
    }
    if cx.holds(&rules::REUSEPORT_OTHER_USER, both_port && !same_user) {
        return true;
    }
    !cx.holds(&rules::REUSEPORT_SHARES, both_port)
}

fn on_other_device(claimer: &SocketEntry, holder: &SocketEntry) -> bool {
    match (&claimer.options.device, &holder.options.device) {
        (Some(claimer), Some(holder)) => claimer != holder,
        (None, _) | (_, None) => false,
    }
}

/// Whether what the bucket has cached lets the socket in without a look at the owners.
fn is_cached(cx: &mut Course<'_>, s: &State, id: SocketId, port: u16) -> bool {
    let socket = s.socket(id);
    let Some(bucket) = s.buckets.get(&(socket.protocol, port)) else { return false };
    let reuse = socket.options.reuse_addr && socket.state != SocketState::Listen;
    cx.holds(&rules::CACHED_REUSEADDR, bucket.cache.reuse == Some(true) && reuse)
        || cx.holds(&rules::CACHED_REUSEPORT, matches_cached(&bucket.cache.reuse_port, socket))
}

/// `sk_reuseport_match()`.
fn matches_cached(cached: &CachedReusePort, socket: &SocketEntry) -> bool {
    socket.options.reuse_port
        && match cached {
            CachedReusePort::Autobound | CachedReusePort::No => false,
            CachedReusePort::Any(user) => *user == socket.owner,
            CachedReusePort::Strict(user, family, address, v6only) => {
                let cached = Receiver { family: *family, address: *address, v6only: *v6only };
                *user == socket.owner && stands_for(cached, Receiver::of(socket))
            }
        }
}

/// `inet_csk_update_fastreuse()`.
fn remember(cx: &mut Course<'_>, s: &mut State, id: SocketId, port: u16) {
    let socket = s.socket(id);
    let (user, reuse_port) = (socket.owner, socket.options.reuse_port);
    let reuse = socket.options.reuse_addr && socket.state != SocketState::Listen;
    let strict = CachedReusePort::Strict(user, socket.family, socket.address, socket.options.v6only);
    let key = (socket.protocol, port);
    let is_new = s.buckets.get(&key).is_none_or(|bucket| bucket.owners.is_empty());
    let new = Cache { reuse: Some(false), reuse_port: CachedReusePort::No };
    let mut cache = s.buckets.get(&key).map_or(new, |bucket| bucket.cache.clone());
    if cx.holds(&rules::FIRST_BIND_CACHED, is_new && (reuse || reuse_port)) {
        cache.reuse = Some(reuse);
        cache.reuse_port = if reuse_port { CachedReusePort::Any(user) } else { CachedReusePort::No };
    } else {
        if !reuse {
            cache.reuse = Some(false);
        }
        if !reuse_port {
            cache.reuse_port = CachedReusePort::No;
        } else if !matches_cached(&cache.reuse_port, s.socket(id)) {
            cache.reuse_port = strict;
        }
    }
    s.buckets.entry(key).or_default().cache = cache;
}

/// Takes a socket's port away, and makes of a bucket that connect() alone uses one for connect().
pub fn put_port(cx: &mut Course<'_>, s: &mut State, id: SocketId) {
    let (protocol, port) = (s.socket(id).protocol, s.socket(id).port);
    if port == 0 {
        return;
    }
    s.release_port(id);
    // A bucket without an owner is gone.
    let is_cached = s.buckets.get(&(protocol, port)).is_some_and(|bucket| bucket.cache != Cache::default());
    let only_autobound = is_cached && s.owners(protocol, port).all(|(_, own)| own.autobound);
    if cx.holds(&rules::RELEASED_PORT_IS_SHARED_AGAIN, only_autobound)
        && let Some(bucket) = s.buckets.get_mut(&(protocol, port))
    {
        bucket.cache = Cache::default();
    }
}

/// `udp_lib_get_port()`.
fn udp_get_port(cx: &mut Course<'_>, s: &mut State, id: SocketId, port: u16) -> bool {
    let port = if port == 0 {
        let (range, _) = range(cx, s, id);
        let ports = Ports { low: range.low(), high: range.high(), step: 1 };
        match pick(cx, s, &[ports], |cx, port| !udp_is_held(cx, s, id, port, Look::Seeks)) {
            Some(port) => port,
            None => return false,
        }
    } else if udp_is_held(cx, s, id, port, Look::Wants) {
        return false;
    } else {
        port
    };
    s.take_port(id, port);
    true
}

/// `udp_lib_lport_inuse()`: the newest holder is looked at first.
fn udp_is_held(cx: &mut Course<'_>, s: &State, id: SocketId, port: u16, look: Look) -> bool {
    let claimer = s.socket(id);
    let holders: Vec<SocketId> =
        s.owners(Protocol::Udp, port).rev().map(|(other, _)| other).filter(|other| *other != id).collect();
    for holder in holders {
        let holder = s.socket(holder);
        let both_addr = claimer.options.reuse_addr && holder.options.reuse_addr;
        if cx.holds(&rules::UDP_REUSEADDR_SHARES, both_addr)
            || cx.holds(&rules::DEVICES_APART, on_other_device(claimer, holder))
            || !overlap(cx, Receiver::of(claimer), Receiver::of(holder))
        {
            continue;
        }
        let both_port = claimer.options.reuse_port && holder.options.reuse_port && claimer.owner == holder.owner;
        let shares = cx.holds(&rules::UDP_REUSEPORT_SHARES, both_port);
        if !shares || cx.holds(&rules::UDP_FIRST_SHARER_DECIDES, look == Look::Wants) {
            return !shares;
        }
    }
    false
}
