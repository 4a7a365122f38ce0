{{- /*
At most 47 characters: with `-gateway-metrics` a Service's name has at most 63, and with `-nats` a StatefulSet's at most 52, since
its Pods have a label of that and a hash.
*/ -}}
{{- define "walcast.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 47 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 47 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- /* What a selector matches: never change it, Deployments would have to be made anew. Takes (list . component). */ -}}
{{- define "walcast.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ default $root.Chart.Name $root.Values.nameOverride }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "walcast.labels" -}}
{{- $root := index . 0 -}}
{{ include "walcast.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: walcast
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "walcast.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ default $.Chart.AppVersion .tag }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "walcast.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{ default (include "walcast.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{ default "default" .Values.serviceAccount.name }}
{{- end -}}
{{- end -}}

{{- define "walcast.natsBundled" -}}
{{- if and .Values.nats.bundled.enabled (not .Values.nats.url) (not .Values.nats.existingSecret) -}}true{{- end -}}
{{- end -}}

{{- define "walcast.redisBundled" -}}
{{- if and .Values.redis.bundled.enabled (not .Values.redis.url) (not .Values.redis.existingSecret) -}}true{{- end -}}
{{- end -}}

{{- /* Names of the bundled NATS servers as their peers and clients see them. */ -}}
{{- define "walcast.natsHosts" -}}
{{- $name := printf "%s-nats" (include "walcast.fullname" .) -}}
{{- $hosts := list -}}
{{- range $index := until (int .Values.nats.bundled.replicas) -}}
{{- $hosts = append $hosts (printf "%s-%d.%s" $name $index $name) -}}
{{- end -}}
{{- join "," $hosts -}}
{{- end -}}

{{- define "walcast.checkValues" -}}
{{- if and (not (include "walcast.natsBundled" .)) (not .Values.nats.url) (not .Values.nats.existingSecret) -}}
{{- fail "the change log needs NATS: set nats.url or nats.existingSecret, or nats.bundled.enabled=true to try things" -}}
{{- end -}}
{{- if and .Values.database.existingSecret (or .Values.database.password .Values.database.url) -}}
{{- fail "database.existingSecret excludes database.password and database.url" -}}
{{- end -}}
{{- if and .Values.auth.existingSecret (or .Values.auth.jwtSecret .Values.auth.jwks .Values.auth.apiKeys) -}}
{{- fail "auth.existingSecret excludes auth.jwtSecret, auth.jwks and auth.apiKeys" -}}
{{- end -}}
{{- with .Values.gateway -}}
{{- if eq (int .port) (int .metricsPort) -}}
{{- fail (printf "gateway.port and gateway.metricsPort are both %d: clients need a port of their own" (int .port)) -}}
{{- end -}}
{{- if and (gt (int .service.nodePort) 0) (eq .service.type "ClusterIP") -}}
{{- fail "gateway.service.nodePort needs gateway.service.type NodePort or LoadBalancer" -}}
{{- end -}}
{{- if and .autoscaling.enabled (gt (int .autoscaling.minReplicas) (int .autoscaling.maxReplicas)) -}}
{{- fail "gateway.autoscaling.minReplicas is above gateway.autoscaling.maxReplicas" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* The source database and NATS, as every command reads them; nothing secret. */ -}}
{{- define "walcast.sourceSettings" -}}
{{- if and (not .Values.database.url) (not .Values.database.existingSecretUrlKey) }}
DB_HOST: {{ .Values.database.host | quote }}
DB_PORT: {{ .Values.database.port | quote }}
DB_NAME: {{ .Values.database.name | quote }}
DB_USER: {{ .Values.database.user | quote }}
{{- end }}
{{- if .Values.database.tls.enabled }}
DB_SSL: "true"
{{- end }}
PUBLICATIONS: {{ .Values.database.publications | toJson | quote }}
SOURCE_NAME: {{ .Values.sourceName | quote }}
{{- if include "walcast.natsBundled" . }}
NATS_URL: {{ include "walcast.natsHosts" . | splitList "," | join ":4222,nats://" | printf "nats://%s:4222" | quote }}
{{- end }}
LOG_LEVEL: {{ .Values.log.level | quote }}
LOG_FORMAT: {{ .Values.log.format | quote }}
{{- if .Values.tls.caSecret }}
NODE_EXTRA_CA_CERTS: /etc/walcast/ca/ca.crt
{{- end }}
{{- end -}}

{{- define "walcast.ingesterSettings" -}}
{{- $copies := .Values.ingester.logReplicas | int -}}
{{- if eq $copies 0 -}}
{{- $copies = ternary (int .Values.nats.bundled.replicas) 1 (eq (include "walcast.natsBundled" .) "true") -}}
{{- end -}}
{{ include "walcast.sourceSettings" . }}
SLOT_NAME: {{ .Values.database.slot | quote }}
LOG_RETENTION_MS: {{ int64 .Values.ingester.retentionMs | quote }}
LOG_RETENTION_BYTES: {{ int64 .Values.ingester.retentionBytes | quote }}
LOG_REPLICAS: {{ $copies | quote }}
NATS_SYNC_INTERVAL_MS: {{ int64 .Values.nats.syncIntervalMs | quote }}
INGESTER_PORT: "4001"
DRAIN_MS: {{ mul 1000 .Values.ingester.drainSeconds | quote }}
{{- range $name, $value := .Values.ingester.config }}
{{ $name }}: {{ include "walcast.text" $value }}
{{- end }}
{{- end -}}

{{- define "walcast.gatewaySettings" -}}
{{ include "walcast.sourceSettings" . }}
{{- if include "walcast.redisBundled" . }}
REDIS_URL: {{ printf "redis://%s-redis:6379" (include "walcast.fullname" .) | quote }}
{{- end }}
PORT: {{ .Values.gateway.port | quote }}
METRICS_PORT: {{ .Values.gateway.metricsPort | quote }}
SECURE_CHANNELS: {{ .Values.auth.secureChannels | quote }}
{{- with .Values.auth.jwksUrl }}
JWT_JWKS_URL: {{ . | quote }}
{{- end }}
DRAIN_MS: {{ mul 1000 .Values.gateway.drainSeconds | quote }}
{{- range $name, $value := .Values.gateway.config }}
{{ $name }}: {{ include "walcast.text" $value }}
{{- end }}
{{- end -}}

{{- /* A setting's value as the environment has it: Helm reads whole numbers as floats, and lists and objects are JSON. */ -}}
{{- define "walcast.text" -}}
{{- if kindIs "string" . -}}{{ . | quote }}
{{- else if kindIs "float64" . -}}{{ int64 . | toString | quote }}
{{- else -}}{{ toJson . | quote }}{{- end -}}
{{- end -}}

{{- /* What the chart's own Secret holds. Empty when everything is by reference. */ -}}
{{- define "walcast.secretData" -}}
{{- with .Values.database.url }}
DATABASE_URL: {{ . | quote }}
{{- end }}
{{- with .Values.database.password }}
DB_PASSWORD: {{ . | quote }}
{{- end }}
{{- with .Values.nats.url }}
NATS_URL: {{ . | quote }}
{{- end }}
{{- with .Values.redis.url }}
REDIS_URL: {{ . | quote }}
{{- end }}
{{- if .Values.auth.jwtSecret }}
JWT_SECRET: {{ .Values.auth.jwtSecret | quote }}
{{- else if include "walcast.generatesJwtSecret" . }}
{{- $kept := lookup "v1" "Secret" .Release.Namespace (include "walcast.fullname" .) }}
{{- with get (default dict $kept.data) "JWT_SECRET" }}
JWT_SECRET: {{ b64dec . | quote }}
{{- else }}
JWT_SECRET: {{ randAlphaNum 48 | quote }}
{{- end }}
{{- end }}
{{- with .Values.auth.jwks }}
JWT_JWKS: {{ . | quote }}
{{- end }}
{{- with .Values.auth.apiKeys }}
API_KEYS: {{ . | quote }}
{{- end }}
{{- end -}}

{{- define "walcast.generatesJwtSecret" -}}
{{- with .Values.auth -}}
{{- if and .secureChannels (not .jwtSecret) (not .jwks) (not .jwksUrl) (not .existingSecret) -}}true{{- end -}}
{{- end -}}
{{- end -}}

{{- /* A variable from a Secret. Takes (list variable secret key). */ -}}
{{- define "walcast.fromSecret" -}}
- name: {{ index . 0 }}
  valueFrom:
    secretKeyRef: {name: {{ index . 1 | quote }}, key: {{ index . 2 | quote }}}
{{ end -}}

{{- /* Takes (list . secret), the name of the chart's own Secret: hooks have a copy, since theirs is gone or not there yet. */ -}}
{{- define "walcast.databaseSecrets" -}}
{{- $own := index . 1 -}}
{{- with (index . 0).Values.database -}}
{{- if and .existingSecret .existingSecretUrlKey -}}
{{ include "walcast.fromSecret" (list "DATABASE_URL" .existingSecret .existingSecretUrlKey) }}
{{- else if .existingSecret -}}
{{ include "walcast.fromSecret" (list "DB_PASSWORD" .existingSecret .existingSecretPasswordKey) }}
{{- else if .url -}}
{{ include "walcast.fromSecret" (list "DATABASE_URL" $own "DATABASE_URL") }}
{{- else if .password -}}
{{ include "walcast.fromSecret" (list "DB_PASSWORD" $own "DB_PASSWORD") }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "walcast.natsSecrets" -}}
{{- if .Values.nats.existingSecret -}}
{{ include "walcast.fromSecret" (list "NATS_URL" .Values.nats.existingSecret .Values.nats.existingSecretUrlKey) }}
{{- else if .Values.nats.url -}}
{{ include "walcast.fromSecret" (list "NATS_URL" (include "walcast.fullname" .) "NATS_URL") }}
{{- end -}}
{{- end -}}

{{- define "walcast.gatewaySecrets" -}}
{{- $own := include "walcast.fullname" . -}}
{{- if .Values.redis.existingSecret -}}
{{ include "walcast.fromSecret" (list "REDIS_URL" .Values.redis.existingSecret .Values.redis.existingSecretUrlKey) }}
{{- else if .Values.redis.url -}}
{{ include "walcast.fromSecret" (list "REDIS_URL" $own "REDIS_URL") }}
{{- end -}}
{{- with .Values.auth -}}
{{- if .existingSecret -}}
{{- range $name, $key := dict "JWT_SECRET" .existingSecretJwtSecretKey "JWT_JWKS" .existingSecretJwksKey "API_KEYS" .existingSecretApiKeysKey -}}
{{- if $key -}}
{{ include "walcast.fromSecret" (list $name $.Values.auth.existingSecret $key) }}
{{- end -}}
{{- end -}}
{{- else -}}
{{- if or .jwtSecret (include "walcast.generatesJwtSecret" $) -}}
{{ include "walcast.fromSecret" (list "JWT_SECRET" $own "JWT_SECRET") }}
{{- end -}}
{{- if .jwks -}}
{{ include "walcast.fromSecret" (list "JWT_JWKS" $own "JWT_JWKS") }}
{{- end -}}
{{- if .apiKeys -}}
{{ include "walcast.fromSecret" (list "API_KEYS" $own "API_KEYS") }}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* The parts of a Pod that are the same for all of the image's. */ -}}
{{- define "walcast.podBasics" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
# Nobody here talks to the API server, and Services must not appear as settings (REDIS_PORT, GATEWAY_…).
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- if .Values.tls.caSecret }}
volumes:
  - name: ca
    secret:
      secretName: {{ .Values.tls.caSecret }}
      items: [{key: {{ .Values.tls.caKey | quote }}, path: ca.crt}]
{{- end }}
{{- end -}}

{{- define "walcast.containerBasics" -}}
image: {{ include "walcast.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
{{- if .Values.tls.caSecret }}
volumeMounts:
  - {name: ca, mountPath: /etc/walcast/ca, readOnly: true}
{{- end }}
{{- end -}}
