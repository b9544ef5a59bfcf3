//! The seccomp filter that stops a program at the watched calls, and at no other.
//!
//! It denies nothing. The tracer decides what to do at a stop.

use crate::sys::{Result, check};

/// `AUDIT_ARCH_*` of `include/uapi/linux/audit.h`.
#[cfg(target_arch = "x86_64")]
pub(super) const NATIVE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
pub(super) const NATIVE: u32 = 0xc000_00b7;

/// Programs of 32 bits on the same processor: their AUDIT_ARCH, and which of their calls are about sockets, from the
/// first to the last (`arch/x86/entry/syscalls/syscall_32.tbl`, `arch/arm/tools/syscall.tbl`).
#[cfg(target_arch = "x86_64")]
const COMPAT32: (u32, [(u32, u32); 2]) = (0x4000_0003, [(102, 102), (359, 373)]);
#[cfg(target_arch = "aarch64")]
const COMPAT32: (u32, [(u32, u32); 2]) = (0x4000_0028, [(281, 297), (365, 366)]);

/// x86_64: calls of x32, programs of 32 bits with 64-bit registers, have this bit and the AUDIT_ARCH of all others
/// (`__X32_SYSCALL_BIT`, `arch/x86/include/uapi/asm/unistd.h`). No other processor numbers a call so.
const X32: u32 = 0x4000_0000;

/// Those of them that are about sockets, from the first to the last (`arch/x86/entry/syscalls/syscall_64.tbl`).
const X32_CALLS: [(u32, u32); 5] = [(41, 55), (288, 288), (517, 519), (537, 538), (541, 542)];

/// `include/uapi/linux/seccomp.h`.
const SET_MODE_FILTER: u32 = 1;

/// Stops this process's socket calls, and those of all that it starts, for a tracer that is there already.
///
/// The filter is our own: those that crates make end a program of the other word size, which here is only noticed.
pub fn be_watched() -> Result<()> {
    let filter = filter();
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
    // Nothing is locked in here: the kernels that guard filtered programs against speculation, which slows every switch
    // to them down, need not (seccomp(2), SECCOMP_FILTER_FLAG_SPEC_ALLOW; the default until 5.16).
    let flags = libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    let install = || {
        // SAFETY: the program points to as many instructions as it says, and the kernel copies them.
        check(unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, flags, &raw const program) } as i32)
    };
    if install().is_err() {
        // Who may not install one for set-uid programs may have one without them.
        // SAFETY: no pointers here.
        check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })?;
        install()?;
    }
    Ok(())
}

/// Whether a call is one of a program of 32 bits, whose arguments are not read here.
pub(super) fn is_compat32(arch: u32, number: i64) -> bool {
    arch != NATIVE || number & i64::from(X32) != 0
}

fn filter() -> Vec<libc::sock_filter> {
    const NUMBER: u32 = 0;
    const ARCH: u32 = 4;
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const FROM: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    // The lower half of an argument, as little-endian machines have it (`struct seccomp_data`).
    let low = |argument: u32| 16 + 8 * argument;
    let op = |code, k| libc::sock_filter { code, jt: 0, jf: 0, k };
    let jump = |code, k, jt, jf| libc::sock_filter { code, jt, jf, k };
    let equal = |k, jt, jf| jump(EQUAL, k, jt, jf);
    let (allow, stop) = (op(RETURN, libc::SECCOMP_RET_ALLOW), op(RETURN, libc::SECCOMP_RET_TRACE));
    let within = |from, to| [jump(FROM, from, 0, 2), jump(FROM, to + 1, 1, 0), stop];
    let mut compat32 = vec![equal(COMPAT32.0, 1, 0), allow, op(LOAD, NUMBER)];
    compat32.extend(COMPAT32.1.into_iter().flat_map(|(from, to)| within(from, to)));
    compat32.push(allow);
    let mut x32: Vec<_> = X32_CALLS.into_iter().flat_map(|(from, to)| within(X32 | from, X32 | to)).collect();
    x32.push(allow);
    let mut program = vec![op(LOAD, ARCH), equal(NATIVE, compat32.len() as u8, 0)];
    program.extend(compat32);
    program.extend([op(LOAD, NUMBER), jump(FROM, X32, 0, x32.len() as u8)]);
    program.extend(x32);
    let mut on = |number: i64, block: &[libc::sock_filter]| {
        program.push(equal(number as u32, 0, block.len() as u8));
        program.extend_from_slice(block);
    };
    let always = [
        libc::SYS_bind,
        libc::SYS_connect,
        libc::SYS_listen,
        libc::SYS_setsockopt,
        libc::SYS_accept,
        libc::SYS_accept4,
        libc::SYS_sendto,
        libc::SYS_sendmsg,
        libc::SYS_sendmmsg,
        libc::SYS_recvfrom,
        libc::SYS_recvmsg,
        libc::SYS_recvmmsg,
        libc::SYS_io_uring_setup,
    ];
    for number in always {
        on(number, &[stop]);
    }
    let (ipv4, ipv6) = (libc::AF_INET as u32, libc::AF_INET6 as u32);
    on(libc::SYS_socket, &[op(LOAD, low(0)), equal(ipv4, 1, 0), equal(ipv6, 0, 1), stop, allow]);
    let (level, name) = (libc::SOL_SOCKET as u32, libc::SO_ERROR as u32);
    on(libc::SYS_getsockopt, &[op(LOAD, low(1)), equal(level, 0, 3), op(LOAD, low(2)), equal(name, 0, 1), stop, allow]);
    on(libc::SYS_seccomp, &[op(LOAD, low(0)), equal(SET_MODE_FILTER, 0, 1), stop, allow]);
    on(libc::SYS_prctl, &[op(LOAD, low(0)), equal(libc::PR_SET_SECCOMP as u32, 0, 1), stop, allow]);
    program.push(allow);
    program
}
