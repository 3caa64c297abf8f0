// The page without a network: a service worker keeps every file of this build.

const PATIENCE = 4000; // ms for which the large files wait for it, so that they are not fetched twice

/**
 * Registers the service worker; done when it serves this page, or when it is not to be had. One that is there and does
 * not serve it never will: the visitor had the page loaded anew from the network.
 */
export async function keepOffline() {
  const { serviceWorker } = navigator;
  if (!serviceWorker) return;
  const taken = new Promise((resolve) => serviceWorker.addEventListener("controllerchange", resolve, { once: true }));
  const late = new Promise((resolve) => setTimeout(resolve, PATIENCE));
  try {
    const { active } = await serviceWorker.register("service_worker.js", { updateViaCache: "none" });
    if (!serviceWorker.controller && !active) await Promise.race([taken, late]);
  } catch {
    // not allowed here: the page works without it, as long as there is a network
  }
}

/**
 * Has the service worker keep what it could not, as it was installed when the page had begun to load.
 *
 * @returns true once all is kept, false without a worker; nothing, ever, from one that cannot keep it.
 */
export async function keepTheRest() {
  const { active } = (await navigator.serviceWorker?.getRegistration().catch(() => null)) ?? {};
  if (!active) return false;
  const { port1, port2 } = new MessageChannel();
  const kept = new Promise((resolve) => port1.addEventListener("message", resolve, { once: true }));
  port1.start();
  active.postMessage("keep", [port2]);
  return kept.then(() => true);
}
