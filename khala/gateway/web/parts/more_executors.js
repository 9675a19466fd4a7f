// What to do when there is nobody to run tasks.
import { html } from "../ui.js";
import { Code } from "./basics.js";
import { Icon } from "./icons.js";

export function MoreExecutors({ cluster }) {
  const host = cluster?.judicators[0]?.address.replace(/:\d+$/, "") ?? "JUDICATOR";
  const secret = cluster?.security === "secured" ? " --secret-file=FILE" : "";
  return html`<section class="notice warn" role="status">
    <${Icon} name="alert" />
    <div><b>No executor is here, so tasks wait.</b>
      <p>On the machine of <code>khala up</code>, executors come with it:</p>
      <${Code} label="command that starts a cluster with executors" text="khala up --executors 2" />
      <p>On any other machine, start one that joins${secret ? ", with the secret that the judicators have" : ""}:</p>
      <${Code} label="command that adds an executor"
        text=${`khala executor --etcd-cluster-join-member-client=http://${host}:2001${secret}`} />
      <p class="small">2001 is where etcd listens unless its port was chosen. This page shows the executor as soon as it is there.</p>
    </div>
  </section>`;
}
