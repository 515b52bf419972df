/** What the processes of the SFU bench tell each other. */
export type LoadMessage =
  | { type: 'offer'; role: 'publisher' | 'receiver' }
  | { type: 'answer'; sdp: string }
  | { type: 'prepare'; packetsPerSecond: number; seconds: number }
  | { type: 'start' };

export type LoadReply =
  | { type: 'offer'; sdp: string }
  | { type: 'connected' }
  | { type: 'prepared' }
  | { type: 'done'; sent: number; received: number };

export type NodeMessage =
  | { type: 'connect'; role: 'publisher' | 'receiver'; sdp: string }
  | { type: 'settle' }
  | { type: 'start' }
  | { type: 'stop' };

export type NodeReply =
  | { type: 'answer'; sdp: string }
  | { type: 'settled' }
  | { type: 'started' }
  | { type: 'result'; cpuSeconds: number; packetsOut: number };
