{{/* What init container and container have in common. */}}

{{- define "service.image" -}}
{{ .Values.image.registry }}/{{ .Values.name }}@{{ .Values.image.digest }}
{{- end }}

{{- define "service.securityContext" -}}
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
privileged: false
readOnlyRootFilesystem: true
runAsGroup: 65532
runAsNonRoot: true
runAsUser: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* Of the secrets, those that the owner of the database has and no server needs. */}}
{{- define "service.migrateSecrets" -}}
{{- $owner := list }}
{{- range .Values.secrets }}{{ if hasPrefix "MIGRATE_" . }}{{ $owner = append $owner . }}{{ end }}{{ end }}
{{- $owner | toJson }}
{{- end }}

{{- define "service.serveSecrets" -}}
{{- $serve := list }}
{{- range .Values.secrets }}{{ if not (hasPrefix "MIGRATE_" .) }}{{ $serve = append $serve . }}{{ end }}{{ end }}
{{- $serve | toJson }}
{{- end }}

{{- define "service.env" -}}
{{- $ports := include "service.ports" . | fromYaml }}
{{- $env := deepCopy .Values.env }}
{{- range .Values.ports }}
{{- $_ := set $env (printf "LISTEN_%s" (upper .)) (printf "0.0.0.0:%v" (get $ports .)) }}
{{- end }}
{{- $_ := set $env "ENVIRONMENT" .Values.environment.mode }}
{{- $_ := set $env "SHUTDOWN_GRACE" (printf "%ds" (int .Values.shutdown.grace)) }}
{{- $_ := set $env "OTEL_EXPORTER_OTLP_ENDPOINT" .Values.collector }}
{{- range include "service.calls" . | fromJsonArray }}
{{- $_ := set $env (printf "GRPC_%s" (. | upper | replace "-" "_")) (printf "http://%s:8081" .) }}
{{- end }}
{{- with get .Values.hosts .Values.issuer }}
{{- $_ := set $env "ISSUER_URL" (printf "https://%s" (tpl . $)) }}
{{- end }}
{{- if ne .Values.name .Values.issuer }}
{{- $_ := set $env "JWKS_URL" (printf "http://%s:8080/.well-known/jwks.json" .Values.issuer) }}
{{- end }}
{{- if has "http" .Values.ports }}
{{- with get .Values.hosts .Values.name }}
{{- $_ := set $env "PUBLIC_URL" (printf "https://%s" (tpl . $)) }}
{{- end }}
{{- end }}
{{- if or (has "kafka" .Values.needs) (has "redis" .Values.needs) }}
{{- $_ := set $env "RESOURCE_PREFIX" (include "service.prefix" .) }}
{{- end }}
{{- if has "kafka" .Values.needs }}
{{- $_ := set $env "KAFKA_BROKERS" (tpl .Values.kafka.brokers .) }}
{{- $options := list "security.protocol=ssl" "ssl.ca.location=/run/kafka-ca/ca.crt" }}
{{- $options = concat $options (list "ssl.certificate.location=/run/kafka/user.crt" "ssl.key.location=/run/kafka/user.key") }}
{{- $_ := set $env "KAFKA_OPTIONS" (join "," $options) }}
{{- end }}
{{- range include "service.serveSecrets" . | fromJsonArray }}
{{- $_ := set $env (printf "%s_FILE" .) (printf "/run/secrets/service/%s" .) }}
{{- end }}
{{- range $name, $value := $env }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}

{{- define "service.mounts" -}}
{{- if include "service.serveSecrets" . | fromJsonArray }}
- name: secrets
  mountPath: /run/secrets/service
  readOnly: true
{{- end }}
{{- if has "kafka" .Values.needs }}
- name: kafka
  mountPath: /run/kafka
  readOnly: true
- name: kafka-ca
  mountPath: /run/kafka-ca
  readOnly: true
{{- end }}
{{- end }}

{{- define "service.volumes" -}}
{{- with include "service.serveSecrets" . | fromJsonArray }}
- name: secrets
  secret:
    secretName: {{ $.Values.name }}
    defaultMode: 0440
    items:
    {{- range . }}
    - {key: {{ . }}, path: {{ . }}}
    {{- end }}
{{- end }}
{{- with include "service.migrateSecrets" . | fromJsonArray }}
- name: migrate
  secret:
    secretName: {{ $.Values.name }}
    defaultMode: 0440
    items:
    {{- range . }}
    - {key: {{ . }}, path: {{ . }}}
    {{- end }}
{{- end }}
{{- if has "kafka" .Values.needs }}
- name: kafka
  secret:
    secretName: {{ include "service.kafkaUser" . }}
    defaultMode: 0440
    items:
    - {key: user.crt, path: user.crt}
    - {key: user.key, path: user.key}
- name: kafka-ca
  secret:
    secretName: {{ if eq .Values.kafka.users "shared" }}{{ .Values.name }}-kafka{{ else }}kafka-ca{{ end }}
    defaultMode: 0440
    items:
    - {key: ca.crt, path: ca.crt}
{{- end }}
{{- end }}
