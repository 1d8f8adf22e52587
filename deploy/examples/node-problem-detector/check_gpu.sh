#!/bin/bash
# Asks plugin-gateway at HOST PORT for /health. Ends with 0: every GPU is healthy, 1: one is not, 2: that is not known.
document=$(exec 3<>"/dev/tcp/$1/$2" && printf 'GET /health HTTP/1.0\r\n\r\n' >&3 && cat <&3) || document=
[[ $document =~ $'\n  "healthy": '(true|false|null)$',\n  "summary": "'([^$'\n']*)'",' ]] || { echo "plugin-gateway at $1:$2 does not answer"; exit 2; }
echo "${BASH_REMATCH[2]}"; case ${BASH_REMATCH[1]} in true) exit 0 ;; false) exit 1 ;; *) exit 2 ;; esac
