//! The driver over the simulated kernel. It panics when its caller breaks the trait's contract.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::sync::Arc;
use std::{fmt, io};

use super::net::{Net, Op, SimEvent, Stage};
use super::peer::SimWaker;
use crate::{Batch, ConnId, Driver, Event, PARTS_MAX, Wait};

/// A receive buffer of a [`SimDriver`]. It counts against the driver's buffers until dropped.
pub struct SimBytes {
    bytes: Vec<u8>,
    held: Rc<Cell<usize>>,
}

impl SimBytes {
    pub(super) fn new(bytes: Vec<u8>, held: Rc<Cell<usize>>) -> Self {
        held.set(held.get() + 1);
        Self { bytes, held }
    }
}

impl Drop for SimBytes {
    fn drop(&mut self) {
        self.held.set(self.held.get() - 1);
    }
}

impl Deref for SimBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for SimBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl fmt::Debug for SimBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.bytes, f)
    }
}

/// One shard's view of a [`SimNet`](super::SimNet). Dropping it is the death of its process: peers see
/// FIN or RST.
#[derive(Debug)]
pub struct SimDriver {
    net: Rc<RefCell<Net>>,
    shard: usize,
}

impl SimDriver {
    pub(super) fn new(net: Rc<RefCell<Net>>, shard: usize) -> Self {
        Self { net, shard }
    }

    /// Which shard of the network this is.
    pub fn shard(&self) -> usize {
        self.shard
    }

    /// What wakes this driver.
    pub fn waker(&self) -> SimWaker {
        SimWaker::new(Arc::clone(&self.net.borrow().shards[self.shard].woken))
    }

    /// Checks that the caller may name `conn`, then queues `op`.
    #[track_caller]
    fn queue(&mut self, conn: ConnId, op: impl FnOnce(&mut super::net::Conn, u32) -> Op) {
        let shard = &mut self.net.borrow_mut().shards[self.shard];
        let slot = shard.conns.get_mut(conn.index()).expect("the connection's slot is within the table");
        assert_eq!(slot.stage, Stage::Open, "{conn} is not open to its driver's caller");
        let op = op(slot, conn.index() as u32);
        shard.ops.push(op);
    }

    /// Remembers what the caller is told with this event.
    fn tell(&mut self, event: &SimEvent) {
        let shard = &mut self.net.borrow_mut().shards[self.shard];
        match *event {
            Event::Accepted { conn, .. } | Event::Connected { conn, .. } => {
                shard.conns[conn.index()].stage = Stage::Open;
            }
            Event::ReceiveEnded { conn, .. } => shard.conns[conn.index()].told_receive = false,
            Event::Writable(conn) => shard.conns[conn.index()].told_writable = false,
            Event::Closed(conn) => {
                shard.conns[conn.index()].stage = Stage::Free;
                shard.free.push(conn.index() as u32);
            }
            _ => {}
        }
    }

    /// Takes the sends of a batch after checking them.
    fn send_batch<B: Batch>(&self, net: &mut Net, batch: &B) {
        net.shards[self.shard].batches += 1;
        let number = net.shards[self.shard].batches;
        for index in 0..batch.len() {
            let (conn, parts) = batch.send(index);
            assert!((1..=PARTS_MAX).contains(&parts), "{conn}: a send of {parts} parts");
            let slot = &mut net.shards[self.shard].conns[conn.index()];
            assert_eq!(slot.stage, Stage::Open, "a send to {conn}, which is not open to its driver's caller");
            assert!(!slot.told_shutdown, "a send to {conn} after its FIN");
            assert_ne!(slot.batch, number, "two sends to {conn} in one batch");
            slot.batch = number;
            let bytes = (0..parts).map(|part| {
                let bytes = batch.part(index, part);
                assert!(!bytes.is_empty(), "{conn}: part {part} of a send is empty");
                bytes
            });
            let short = net.send(self.shard, conn.index() as u32, bytes);
            net.shards[self.shard].ready.extend(short);
        }
    }
}

impl Driver for SimDriver {
    type Bytes = SimBytes;

    fn now(&self) -> u64 {
        self.net.borrow().now
    }

    fn accept(&mut self) {
        self.net.borrow_mut().shards[self.shard].ops.push(Op::Accept);
    }

    fn stop_accept(&mut self) {
        self.net.borrow_mut().shards[self.shard].ops.push(Op::StopAccept);
    }

    fn connect(&mut self, token: u64, local: Option<SocketAddr>, remote: SocketAddr) {
        self.net.borrow_mut().shards[self.shard].ops.push(Op::Connect { token, local, remote });
    }

    fn receive(&mut self, conn: ConnId) {
        self.queue(conn, |slot, index| {
            assert!(!slot.told_receive, "receive of {conn}, which receives already");
            slot.told_receive = true;
            Op::Receive(index)
        });
    }

    fn pause_receive(&mut self, conn: ConnId) {
        self.queue(conn, |_, index| Op::PauseReceive(index));
    }

    fn notify_writable(&mut self, conn: ConnId) {
        self.queue(conn, |slot, index| {
            assert!(!slot.told_writable, "notify_writable of {conn} while one is outstanding");
            slot.told_writable = true;
            Op::NotifyWritable(index)
        });
    }

    fn shutdown_write(&mut self, conn: ConnId) {
        self.queue(conn, |slot, index| {
            slot.told_shutdown = true;
            Op::ShutdownWrite(index)
        });
    }

    fn close(&mut self, conn: ConnId) {
        self.queue(conn, |slot, index| {
            slot.stage = Stage::Closing;
            Op::Close(index)
        });
    }

    fn submit<B: Batch>(&mut self, batch: &B, wait: Wait) -> io::Result<()> {
        let mut net = self.net.borrow_mut();
        assert!(net.shards[self.shard].ready.is_empty(), "a submit before next_event returned None");
        net.apply_ops(self.shard);
        self.send_batch(&mut net, batch);
        net.turn(self.shard, wait);
        Ok(())
    }

    fn next_event(&mut self) -> Option<SimEvent> {
        let event = self.net.borrow_mut().shards[self.shard].ready.pop_front()?;
        self.tell(&event);
        Some(event)
    }
}

impl Drop for SimDriver {
    fn drop(&mut self) {
        self.net.borrow_mut().drop_shard(self.shard);
    }
}
