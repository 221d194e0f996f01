#!/bin/sh
# Make the files of this folder, by encoders other than libsndfile's: Debian's sox, ffmpeg, lame, opus-tools,
# vorbis-tools and flac (apt-get install sox libsox-fmt-all ffmpeg lame opus-tools vorbis-tools flac).
# The files are committed, so that tests need none of these; run this in this folder to make them anew.
set -e
work=$(mktemp -d)
long=$work/long.wav wide=$work/wide.wav short=$work/short.wav
sox -R -n -b 16 -r 16000 -c 1 "$long" synth 1.5 sine 300-2000 gain -6
sox -R -n -b 16 -r 44100 -c 2 "$wide" synth 0.7 sine 300-2000 sine 900-400 gain -6
sox -R -n -b 16 -r 8000 -c 1 "$short" synth 0.3 sine 300-2000 gain -6
ff() { ffmpeg -hide_banner -loglevel error -y -bitexact "$@"; }

# mp3: with and without a length, with tags before and after, of constant and variable rate, layer II
lame --quiet -V 6 "$wide" lame-vbr.mp3
lame --quiet -V 6 -t "$long" lame-vbr-no-length.mp3
lame --quiet -b 32 -p --add-id3v2 --tt title "$long" lame-cbr-crc-id3.mp3
ff -i "$long" -b:a 32k -write_xing 0 -write_id3v1 1 ffmpeg-no-length.mp3
ff -i "$long" -b:a 32k ffmpeg.mp3
ff -i "$long" -b:a 32k -f mp3 pipe:1 > ffmpeg-to-pipe.mp3
ff -i "$long" -b:a 32k ffmpeg.mp2
sox "$long" -C 32 sox.mp3
cat lame-vbr-no-length.mp3 lame-cbr-crc-id3.mp3 > joined.mp3

# Ogg: several frame sizes, written to a pipe, chained
oggenc -Q -q 0 --serial 1 "$long" -o oggenc.ogg
oggenc -Q -q 0 --serial 2 "$long" -o "$work/second.ogg"
cat oggenc.ogg "$work/second.ogg" > chained.ogg
opusenc --quiet --bitrate 16 --serial 1 "$long" opusenc.opus
opusenc --quiet --bitrate 16 --framesize 60 --serial 2 "$long" opusenc-60ms.opus
cat opusenc.opus opusenc-60ms.opus > chained.opus
ff -i "$long" -c:a libvorbis -b:a 32k -f ogg pipe:1 > ffmpeg-to-pipe.ogg
ff -i "$long" -c:a libopus -b:a 16k ffmpeg.opus
ff -i "$short" -c:a flac ffmpeg-flac.ogg

# flac: without a length, with an ID3 tag
flac -s -8 --no-padding -f "$short" -o flac.flac
flac -s -8 --no-padding -c "$short" > flac-to-pipe.flac 2> "$work/warnings"
ff -i "$short" -c:a flac -f flac pipe:1 > ffmpeg-to-pipe.flac
sox "$short" sox.flac

# wav and its kin: lengths left open, samples of every kind
sox "$short" -t wav - > sox-to-pipe.wav
ff -i "$short" -f wav pipe:1 > ffmpeg-to-pipe.wav
ff -i "$short" -f caf pipe:1 > ffmpeg-to-pipe.caf
sox "$short" -t au - > sox-to-pipe.au
for kind in u-law a-law gsm-full-rate ms-adpcm ima-adpcm; do sox "$short" -e $kind "sox-$kind.wav"; done
for kind in alaw mulaw s24le f32le; do ff -i "$short" -c:a pcm_$kind "ffmpeg-$kind.wav"; done
for kind in ms ima_wav; do ff -i "$short" -c:a adpcm_$kind "ffmpeg-adpcm-$kind.wav"; done
ff -i "$short" -rf64 always ffmpeg-rf64.wav
sox "$short" -b 24 sox-24.aiff
sox "$short" sox.w64
sox "$short" sox.caf

# what only PyAV reads
ff -i "$long" -c:a aac -b:a 24k ffmpeg.m4a
ff -ss 0.4 -i ffmpeg.m4a -c copy ffmpeg-edit-list.m4a
ff -i "$long" -c:a aac -b:a 24k -f adts ffmpeg.aac
ff -i "$long" -c:a libopus -b:a 16k ffmpeg.webm
ff -i "$short" -c:a flac ffmpeg-flac.mkv
ff -i "$short" -c:a alac ffmpeg-alac.m4a
ff -i "$long" -c:a wmav2 -b:a 24k ffmpeg.wma
rm -r "$work"
