import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';

/**
 * The metrics registry of one process. Names are LiveKit's where LiveKit has the metric; labels never carry
 * rooms, identities or ids, so the number of series stays fixed however long the process runs.
 */
export type Metrics = {
  /** Prometheus text format. */
  render(): Promise<{ contentType: string; text: string }>;
  /** Of everything registered so far. */
  names(): string[];
  counter<Label extends string>(name: string, help: string, labels?: readonly Label[]): Counter<Label>;
  histogram<Label extends string>(
    name: string,
    help: string,
    buckets: number[],
    labels?: readonly Label[],
  ): Histogram<Label>;
  /** A gauge whose value is read when somebody scrapes. */
  observe(name: string, help: string, read: () => number | Promise<number>): void;
  /** The same with labels: one series for each of what is read. */
  observeEach<Label extends string>(
    name: string,
    help: string,
    labels: readonly Label[],
    read: () => { labels: Record<Label, string>; value: number }[],
  ): void;
};

export function createMetrics(options: { nodeId: string; processMetrics?: boolean }): Metrics {
  const registry = new Registry();
  registry.setDefaultLabels({ node_id: options.nodeId });
  if (options.processMetrics ?? true) {
    collectDefaultMetrics({ register: registry });
  }
  return {
    render: async () => ({ contentType: registry.contentType, text: await registry.metrics() }),
    names: () => registry.getMetricsAsArray().map((metric) => metric.name),
    counter: (name, help, labels = []) =>
      new Counter({ name, help, labelNames: [...labels], registers: [registry] }),
    histogram: (name, help, buckets, labels = []) =>
      new Histogram({ name, help, buckets, labelNames: [...labels], registers: [registry] }),
    observe: (name, help, read) => {
      new Gauge({
        name,
        help,
        registers: [registry],
        async collect() {
          this.set(await read());
        },
      });
    },
    observeEach: (name, help, labels, read) => {
      new Gauge({
        ...{ name, help, registers: [registry], labelNames: [...labels] },
        collect() {
          this.reset();
          for (const series of read()) {
            this.set(series.labels, series.value);
          }
        },
      });
    },
  };
}
