/** Layer → the layers it may import; package → its only homes. Read by test/meta/architecture.test.ts too. */
export declare const LAYERS: Readonly<Record<string, readonly string[]>>;
export declare const HOMES: Readonly<Record<string, readonly string[]>>;
