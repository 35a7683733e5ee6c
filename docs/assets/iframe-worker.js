// Search from the disk: a browser starts no worker from a file:// page. There a hidden frame
// takes its place, which may load scripts; elsewhere nothing is changed.
if (location.protocol === "file:") {
  window.IFrameWorker = class extends EventTarget {
    constructor(url) {
      super()
      this.waiting = []
      const frame = document.createElement("iframe")
      frame.hidden = true
      frame.srcdoc = "<!doctype html>"
      frame.addEventListener("load", () => this.begin(frame.contentWindow, String(url)), { once: true })
      document.body.append(frame)
    }

    begin(inside, url) {
      // What the script sends to "its page" is an event of this object.
      inside.postMessage = data => {
        const event = new MessageEvent("message", { data })
        this.dispatchEvent(event)
        if (this.onmessage) this.onmessage(event)
      }
      const script = inside.document.createElement("script")
      script.src = url
      script.addEventListener("load", () => {
        this.inside = inside
        this.waiting.splice(0).forEach(data => this.postMessage(data))
      })
      inside.document.head.append(script)
    }

    postMessage(data) {
      if (!this.inside) this.waiting.push(data)
      else this.inside.dispatchEvent(new MessageEvent("message", { data }))
    }
  }
  window.Worker = window.IFrameWorker
}
