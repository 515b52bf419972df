"""A WHIP client of aiortc (its own ICE, DTLS, RTP and codecs) and Python's standard library.

Arguments: URL, stream key, H264 or VP8. A picture that turns from black to white and back every half second, and a beep
of 100 ms every second. Ends the session with DELETE on SIGINT.
"""

import asyncio
import fractions
import math
import signal
import sys
import time
import urllib.request
from urllib.parse import urljoin

import av
from aiortc import MediaStreamTrack, RTCPeerConnection, RTCRtpSender, RTCSessionDescription

URL, KEY, CODEC = sys.argv[1:4]
RATE_HZ = 48000
SAMPLES = 960


class Clocked(MediaStreamTrack):
    """Frames at the time they are due."""

    def __init__(self, frames_per_s):
        super().__init__()
        self.interval_s = 1 / frames_per_s
        self.start_s = time.monotonic()
        self.count = 0

    async def recv(self):
        await asyncio.sleep(max(0, self.start_s + self.count * self.interval_s - time.monotonic()))
        frame = self.make(self.count)
        self.count += 1
        return frame


class Blink(Clocked):
    kind = "video"

    def __init__(self):
        super().__init__(25)

    def make(self, index):
        frame = av.VideoFrame(320, 240, "yuv420p")
        white = index * self.interval_s % 1 < 0.5
        for plane, value in zip(frame.planes, (235 if white else 16, 128, 128)):
            plane.update(bytes([value]) * (plane.line_size * plane.height))
        frame.pts, frame.time_base = index * 3600, fractions.Fraction(1, 90000)
        return frame


class Beeps(Clocked):
    kind = "audio"

    def __init__(self):
        super().__init__(RATE_HZ / SAMPLES)

    def make(self, index):
        samples = bytearray()
        for at in range(index * SAMPLES, (index + 1) * SAMPLES):
            loud = at % RATE_HZ < RATE_HZ / 10
            value = int(16000 * math.sin(2 * math.pi * 1000 * at / RATE_HZ)) if loud else 0
            samples += value.to_bytes(2, "little", signed=True)
        frame = av.AudioFrame(format="s16", layout="mono", samples=SAMPLES)
        frame.planes[0].update(bytes(samples))
        frame.sample_rate = RATE_HZ
        frame.pts, frame.time_base = index * SAMPLES, fractions.Fraction(1, RATE_HZ)
        return frame


def call(method, url, body=None):
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/sdp"}
    request = urllib.request.Request(url, body, headers, method=method)
    with urllib.request.urlopen(request) as response:
        return response.status, response.headers, response.read().decode()


async def main():
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stopped.set)
    connection = RTCPeerConnection()
    connection.on("connectionstatechange", lambda: print(connection.connectionState, flush=True))
    connection.addTransceiver(Beeps(), direction="sendonly")
    video = connection.addTransceiver(Blink(), direction="sendonly")
    codecs = RTCRtpSender.getCapabilities("video").codecs
    video.setCodecPreferences([codec for codec in codecs if codec.mimeType == f"video/{CODEC}"])
    await connection.setLocalDescription(await connection.createOffer())
    offer = connection.localDescription.sdp.encode()
    status, headers, answer = await asyncio.to_thread(call, "POST", URL, offer)
    print(status, flush=True)
    await connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))
    await stopped.wait()
    status, *_ = await asyncio.to_thread(call, "DELETE", urljoin(URL, headers["Location"]))
    print(status, flush=True)
    await connection.close()


asyncio.run(main())
