//! What models run on.

use std::ops::{Deref, Range};
use std::sync::{Arc, OnceLock};

use crossbeam::queue::ArrayQueue;
use loom::cell::UnsafeCell;
use loom::thread::yield_now;

pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

/// Tells loom which bytes of a shared memory are written and read. It fails the model if a write and another access to the
/// same byte are not ordered.
pub(crate) struct Accesses(Box<[UnsafeCell<()>]>);

impl Accesses {
    pub(crate) fn new(bytes: usize) -> Self {
        Self((0..bytes).map(|_| UnsafeCell::new(())).collect())
    }

    pub(crate) fn written(&self, range: Range<usize>) {
        self.0[range].iter().for_each(|byte| byte.with_mut(|_| ()));
    }

    pub(crate) fn read(&self, range: Range<usize>) {
        self.0[range].iter().for_each(|byte| byte.with(|_| ()));
    }
}

/// How often an [`ArcSwap`] of a model may be stored to.
const STORES_MAX: usize = 16;

/// arc-swap, as far as its documentation promises order: a store swaps a pointer with `SeqCst`, a load reads it with
/// `SeqCst`, of which loom keeps `AcqRel` and `Acquire`. How it keeps alive what a reader has just found is left out: here
/// every value lives as long as the whole.
#[derive(Debug)]
pub(crate) struct ArcSwap<T> {
    /// All values that were ever stored, unseen by loom: only the place of the current one orders anything.
    values: [OnceLock<Arc<T>>; STORES_MAX],
    current: AtomicUsize,
}

impl<T> ArcSwap<T> {
    pub(crate) fn from_pointee(value: T) -> Self {
        let values = [const { OnceLock::new() }; STORES_MAX];
        _ = values[0].set(Arc::new(value));
        Self { values, current: AtomicUsize::new(0) }
    }

    pub(crate) fn load(&self) -> Guard<Arc<T>> {
        let current = self.current.load(Ordering::SeqCst);
        Guard(self.values[current].get().expect("a place is told after it was filled").clone())
    }

    /// A log has one writer: two stores at the same time are a defect.
    pub(crate) fn store(&self, value: Arc<T>) {
        let place = self.values.iter().position(|place| place.get().is_none());
        let place = place.expect("a model stores less often");
        assert!(self.values[place].set(value).is_ok(), "two writers");
        assert_eq!(self.current.swap(place, Ordering::SeqCst) + 1, place, "two writers");
    }
}

pub(crate) struct Guard<T>(T);

impl<T> Guard<T> {
    pub(crate) fn into_inner(guard: Self) -> T {
        guard.0
    }
}

impl<T> Deref for Guard<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// crossbeam's `ArrayQueue` (crossbeam-queue 0.3.14), step by step and with the same orderings, on loom's atomics. A lock
/// would do for the values, but would order more than the queue does, and hide what the mailbox itself has to order.
pub(crate) struct Queue<T> {
    head: AtomicUsize,
    tail: AtomicUsize,
    slots: Box<[Slot<T>]>,
    one_lap: usize,
}

struct Slot<T> {
    stamp: AtomicUsize,
    /// Unseen by loom.
    value: ArrayQueue<T>,
}

impl<T> Queue<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        let slot = |index| Slot { stamp: AtomicUsize::new(index), value: ArrayQueue::new(1) };
        Self {
            head: AtomicUsize::new(0),
            tail: AtomicUsize::new(0),
            slots: (0..capacity).map(slot).collect(),
            one_lap: (capacity + 1).next_power_of_two(),
        }
    }

    fn slot(&self, place: usize) -> &Slot<T> {
        &self.slots[place & (self.one_lap - 1)]
    }

    fn after(&self, place: usize) -> usize {
        let index = place & (self.one_lap - 1);
        let lap = place & !(self.one_lap - 1);
        if index + 1 < self.slots.len() { place + 1 } else { lap + self.one_lap }
    }

    pub(crate) fn push(&self, value: T) -> Result<(), T> {
        let mut tail = self.tail.load(Ordering::Relaxed);
        loop {
            let slot = self.slot(tail);
            let stamp = slot.stamp.load(Ordering::Acquire);
            if tail == stamp {
                let next = self.after(tail);
                match self.tail.compare_exchange_weak(tail, next, Ordering::SeqCst, Ordering::Relaxed) {
                    Ok(_) => {
                        assert!(slot.value.push(value).is_ok(), "a free slot is empty");
                        slot.stamp.store(tail + 1, Ordering::Release);
                        return Ok(());
                    }
                    Err(found) => tail = found,
                }
                continue;
            }
            if stamp + self.one_lap == tail + 1 {
                fence(Ordering::SeqCst);
                if self.head.load(Ordering::Relaxed) + self.one_lap == tail {
                    return Err(value);
                }
            }
            yield_now();
            tail = self.tail.load(Ordering::Relaxed);
        }
    }

    pub(crate) fn pop(&self) -> Option<T> {
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            let slot = self.slot(head);
            let stamp = slot.stamp.load(Ordering::Acquire);
            if stamp == head + 1 {
                let next = self.after(head);
                match self.head.compare_exchange_weak(head, next, Ordering::SeqCst, Ordering::Relaxed) {
                    Ok(_) => {
                        let value = slot.value.pop().expect("a stamped slot is full");
                        slot.stamp.store(head + self.one_lap, Ordering::Release);
                        return Some(value);
                    }
                    Err(found) => head = found,
                }
                continue;
            }
            if stamp == head {
                fence(Ordering::SeqCst);
                if self.tail.load(Ordering::Relaxed) == head {
                    return None;
                }
            }
            yield_now();
            head = self.head.load(Ordering::Relaxed);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        let head = self.head.load(Ordering::SeqCst);
        self.tail.load(Ordering::SeqCst) == head
    }

    /// Only for the eyes of people.
    pub(crate) fn len(&self) -> usize {
        self.slots.iter().map(|slot| slot.value.len()).sum()
    }
}
