import { Room, RoomEvent } from 'livekit-client';

// The egress opens this page with ?url=…&token=…&layout=… and records what it shows and plays.
const query = new URLSearchParams(location.search);
const room = new Room();

room.on(RoomEvent.TrackSubscribed, (track) => {
  const element = track.attach();
  // The recording starts with this line, here once the first track plays.
  element.addEventListener('playing', () => console.log('START_RECORDING'), { once: true });
  document.body.append(element);
});
room.on(RoomEvent.TrackUnsubscribed, (track) => {
  track.detach().forEach((element) => element.remove());
});
// … and ends with this one, at the latest when the room closes.
room.on(RoomEvent.Disconnected, () => console.log('END_RECORDING'));

room.connect(query.get('url') ?? '', query.get('token') ?? '').catch((error: unknown) => {
  // Text in a div of class "error" refuses the recording and becomes its error message.
  document.body.innerHTML = '<div class="error"></div>';
  document.body.children[0]?.append(String(error));
});
