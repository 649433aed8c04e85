//! `agent`: this machine, for the runs of a coordinator.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};

use fanfare_loadgen::agents::{self, Host, Secret};
use fanfare_loadgen::options::Agent;
use fanfare_loadgen::party::{Order, Share, Word};
use fanfare_loadgen::plan::{Place, Plan};
use fanfare_loadgen::{preflight, worker};

use super::{Exit, misused};

pub(crate) fn agent(options: &Agent) -> Exit {
    match serve(options) {
        Ok(never) => match never {},
        Err(sentence) => misused(&sentence),
    }
}

fn serve(options: &Agent) -> Result<Infallible, String> {
    let secret = Secret::find(options.secret_file.as_deref())?;
    let listener = agents::listen(&options.listen, secret.as_ref())?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    eprintln!("waiting for a coordinator on {address}");
    agents::serve(&listener, secret, Machine(options.place()))
}

/// What this machine has for a run, whatever the coordinator's plan says of its own machine.
struct Machine(Place);

impl Machine {
    fn here(&self, plan: &Plan) -> Plan {
        Plan { place: self.0.clone(), ..plan.clone() }
    }
}

impl Host for Machine {
    fn workers_for(&self, plan: &Plan, connections: usize) -> Result<usize, String> {
        preflight::workers(&self.here(plan), connections).map(|workers| workers.len())
    }

    fn spawn(&self, plan: Arc<Plan>, share: Share, orders: Receiver<Order>, words: Sender<(usize, Word)>) {
        let cores = &self.0.cores;
        let core = (!cores.is_empty()).then(|| cores[share.index % cores.len()]);
        // The worker ends by itself when its orders hang up.
        drop(worker::spawn(Arc::new(self.here(&plan)), Share { core, ..share }, orders, words));
    }

    fn log(&self, line: &str) {
        eprintln!("{line}");
    }
}
