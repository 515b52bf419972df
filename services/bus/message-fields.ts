import { proto3, ScalarType, type FieldInfo, type Message, type MessageType } from '@bufbuild/protobuf';

type FieldSource = Extract<Parameters<typeof proto3.makeMessageType>[1], () => unknown>;
/** The short form of protobuf-es, which exports no name for it. */
type Field = Exclude<ReturnType<FieldSource>, readonly FieldInfo[]>[number];

/** Describes one protobuf message at run time; the functions below are its fields. */
export function message<T extends Message<T>>(typeName: string, fields: () => Field[]): MessageType<T> {
  return proto3.makeMessageType(typeName, fields) as unknown as MessageType<T>;
}

export function scalar(no: number, name: string, T: ScalarType): Field {
  return { no, name, kind: 'scalar', T };
}

export function text(no: number, name: string): Field {
  return scalar(no, name, ScalarType.STRING);
}

export function texts(no: number, name: string): Field {
  return { no, name, kind: 'scalar', T: ScalarType.STRING, repeated: true };
}

export function textMap(no: number, name: string): Field {
  return { no, name, kind: 'map', K: ScalarType.STRING, V: { kind: 'scalar', T: ScalarType.STRING } };
}

export function nested<T extends Message<T>>(no: number, name: string, T: MessageType<T>): Field {
  return { no, name, kind: 'message', T };
}

export function nestedList<T extends Message<T>>(no: number, name: string, T: MessageType<T>): Field {
  return { no, name, kind: 'message', T, repeated: true };
}

/** One of several messages that exclude each other. */
export function choice<T extends Message<T>>(
  oneof: string,
  no: number,
  name: string,
  T: MessageType<T>,
): Field {
  return { no, name, kind: 'message', T, oneof };
}
